package incident

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// lines makes events of the lines of an audit log.
func lines(t testing.TB, text []byte) []Event {
	t.Helper()
	var events []Event
	for scan := bufio.NewScanner(bytes.NewReader(text)); scan.Scan(); {
		var e struct {
			Seq  uint64      `json:"seq"`
			Time time.Time   `json:"time"`
			Kind record.Kind `json:"kind"`
		}
		line := bytes.Clone(scan.Bytes())
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, Event{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Line: line})
	}
	return events
}

func drill(t testing.TB) []Event {
	t.Helper()
	text, err := os.ReadFile("testdata/drill.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	return lines(t, text)
}

// A diary writes a log, one record a call, a second apart.
type diary struct {
	now    time.Time
	events []Event
}

func newDiary() *diary { return &diary{now: time.Date(2026, 11, 20, 19, 0, 0, 0, time.UTC)} }

func (d *diary) wait(span time.Duration) *diary { d.now = d.now.Add(span); return d }

func (d *diary) write(kind, format string, args ...any) *diary {
	d.now = d.now.Add(time.Second)
	seq := uint64(len(d.events) + 1)
	line := fmt.Sprintf(`{"seq":%d,"time":%q,"kind":%q,%s}`, seq, d.now.Format(time.RFC3339Nano), kind, fmt.Sprintf(format, args...))
	d.events = append(d.events, Event{Seq: seq, Time: d.now, Kind: record.Kind(kind), Line: []byte(line)})
	return d
}

func (d *diary) open(id string, netns int) *diary {
	return d.write("incident.open", `"incident":%q,"netns":%d,"moment":%q,"entries":800,"max":1000,"text":"opened"`, id, netns, d.moment())
}

func (d *diary) close(id string, netns int) *diary {
	return d.write("incident.close", `"incident":%q,"netns":%d,"moment":%q,"entries":100,"max":1000,"text":"closed"`, id, netns, d.moment())
}

func (d *diary) moment() string { return time.Duration(d.now.Unix() % 1e6 * 1e9).String() }

func (d *diary) start(boot string) *diary {
	return d.write("start", `"version":"1","kernel":"6.1","boot_id":%q,"mode":"enforce","text":"starts"`, boot)
}

func (d *diary) plan(id string, cause policy.Cause, entries, drop int) *diary {
	return d.write("plan", `"incident":%q,"level":"high","cause":%q,"observation":{"now":%q,"table":{"entries":%d,"max":1000,"counters":{"drop":%d}},`+
		`"timeouts":{"udp_timeout":30},"memory":{"total":1000000,"available":500000,"entry_bytes":256}},"budget":{"max":9000},`+
		`"actions":[{"type":"raise_max","netns":0,"from":1000,"to":2000,"reason":"full_soon"}],"text":"raise"`, id, cause, d.moment(), entries, drop)
}

func (d *diary) raised(id string, from, to int) *diary {
	return d.write("outcome", `"incident":%q,"action":{"type":"raise_max","netns":0,"from":%d,"to":%d,"reason":"full_soon"},"ok":true,"before":%d,"after":%d,"text":"raised"`,
		id, from, to, from, to)
}

func (d *diary) group(g Grouper) []Incident {
	for _, e := range d.events {
		g.Add(e)
	}
	found := slices.Collect(g.Newest())
	slices.Reverse(found)
	return found
}

func TestRulesOfGrouping(t *testing.T) {
	type short struct {
		ID      string
		Merged  []string
		Status  Status
		Partial bool
		Restart int
	}
	tests := map[string]struct {
		log  *diary
		want []short
	}{
		"nothing in, nothing out": {newDiary(), nil},
		"a calm day is no incident": {
			newDiary().start("a").write("config", `"text":"limits"`).write("hold", `"held":"elsewhere","text":"held"`), nil,
		},
		"opened and closed":  {newDiary().open("A", 0).close("A", 0), []short{{ID: "A", Status: Closed}}},
		"the log ends in it": {newDiary().open("A", 0).plan("A", policy.Load, 900, 0), []short{{ID: "A", Status: Open}}},
		"its beginning is lost": {
			newDiary().plan("A", policy.Load, 900, 0).close("A", 0), []short{{ID: "A", Status: Closed, Partial: true}},
		},
		"a restart does not end it": {
			newDiary().start("a").open("A", 0).start("a").plan("A", policy.Load, 900, 0).close("A", 0),
			[]short{{ID: "A", Status: Closed, Restart: 1}},
		},
		"a reboot ends it, and nothing continues it": {
			newDiary().start("a").open("A", 0).start("b").open("B", 0).close("B", 0),
			[]short{{ID: "A", Status: Interrupted}, {ID: "B", Status: Closed}},
		},
		"one that follows soon continues it": {
			newDiary().open("A", 0).close("A", 0).wait(9*time.Minute).open("B", 0).close("B", 0),
			[]short{{ID: "A", Merged: []string{"B"}, Status: Closed}},
		},
		"one that follows later does not": {
			newDiary().open("A", 0).close("A", 0).wait(11*time.Minute).open("B", 0),
			[]short{{ID: "A", Status: Closed}, {ID: "B", Status: Open}},
		},
		"a forgotten one is interrupted by the next": {
			newDiary().open("A", 0).wait(time.Hour).open("B", 0).close("B", 0),
			[]short{{ID: "A", Status: Interrupted}, {ID: "B", Status: Closed}},
		},
		"two tables have two": {
			newDiary().open("A", 0).open("B", 7).close("A", 0).close("B", 7),
			[]short{{ID: "A", Status: Closed}, {ID: "B", Status: Closed}},
		},
		"a record after the end is still its own": {
			newDiary().open("A", 0).close("A", 0).wait(time.Hour).plan("A", policy.Load, 1, 0), []short{{ID: "A", Status: Closed}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []short
			for _, i := range tt.log.group(Grouper{}) {
				got = append(got, short{i.ID, i.Merged, i.Status, i.Partial, i.Counts.Restarts})
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("incidents (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEndIsWhereTheIncidentEnded(t *testing.T) {
	d := newDiary().open("A", 0).wait(time.Minute).close("A", 0).wait(time.Hour).plan("A", policy.Load, 1, 0)
	i := d.group(Grouper{})[0]
	if got := i.End.Sub(i.Start); got != 61*time.Second {
		t.Errorf("from start to end %s, want 61s", got)
	}
	if i.Duration != 61*time.Second {
		t.Errorf("duration %s, want 61s", i.Duration)
	}
}

func TestDurationIsByTheClockThatNobodySets(t *testing.T) {
	d := newDiary().open("A", 0).wait(58 * time.Second)
	moment := d.wait(time.Second).moment()
	d.now = d.now.Add(-2 * time.Hour)
	d.write("incident.close", `"incident":"A","moment":%q,"entries":1,"max":1000`, moment)
	if got := d.group(Grouper{})[0].Duration; got != 60*time.Second {
		t.Errorf("duration %s, want 1m", got)
	}
}

func TestLossesAreCountedFromTheFirstReading(t *testing.T) {
	d := newDiary().open("A", 0).plan("A", policy.Load, 990, 100).wait(time.Second).
		plan("A", policy.Churn, 1000, 130).wait(time.Second).plan("A", policy.Churn, 100, 132).wait(time.Second).
		plan("A", policy.Unknown, 100, 135)
	i := d.group(Grouper{})[0]
	if i.Losses != (Losses{Packets: 32, BelowMax: 3}) {
		t.Errorf("losses %+v, want 32 of a full table and 3 of another cause", i.Losses)
	}
	if i.Cause != policy.Churn || len(i.Causes) != 3 {
		t.Errorf("cause %v of %v, want churn", i.Cause, i.Causes)
	}
	if i.Peak.Entries != 1000 || len(i.Curve) != 5 {
		t.Errorf("peak %+v, %d points", i.Peak, len(i.Curve))
	}
}

func TestARestartBeginsCountingAnew(t *testing.T) {
	d := newDiary().start("a").open("A", 0).plan("A", policy.Load, 990, 100).start("a").wait(time.Second).plan("A", policy.Load, 1000, 250)
	if got := d.group(Grouper{})[0].Losses.Packets; got != 250 {
		t.Errorf("lost %d packets, want the 250 since the restart", got)
	}
}

func TestWhatIsStillChanged(t *testing.T) {
	type change struct{ Original, Written uint64 }
	tests := map[string]struct {
		then func(*diary) *diary
		want []change
	}{
		"a raise stays":                   {func(d *diary) *diary { return d }, []change{{1000, 2000}}},
		"a second raise keeps the origin": {func(d *diary) *diary { return d.raised("A", 2000, 4000) }, []change{{1000, 4000}}},
		"given back outside the incident": {func(d *diary) *diary { return d.raised("", 2000, 1000) }, nil},
		"a reboot forgets it":             {func(d *diary) *diary { return d.start("b") }, nil},
		"a restart does not":              {func(d *diary) *diary { return d.start("a") }, []change{{1000, 2000}}},
		"somebody else's value is theirs": {overrule, nil},
		"a person put it back":            {revert, nil},
		"what was somebody else's was not written": {func(d *diary) *diary {
			return d.write("outcome", `"incident":"A","action":{"type":"raise_max","from":2000,"to":9000},"ok":true,"foreign":true,"before":2000,"after":9000`)
		}, []change{{1000, 2000}}},
		"what would be done changes nothing": {func(d *diary) *diary {
			return d.write("outcome", `"incident":"A","action":{"type":"raise_max","from":2000,"to":9000,"would":true},"ok":true,"before":2000,"after":9000`)
		}, []change{{1000, 2000}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDiary().start("a").open("A", 0).plan("A", policy.Load, 900, 0).raised("A", 1000, 2000)
			var got []change
			for _, c := range tt.then(d).group(Grouper{})[0].Changed {
				got = append(got, change{c.Original, c.Written})
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("still changed (-want +got):\n%s", diff)
			}
		})
	}
}

func overrule(d *diary) *diary {
	return d.write("override", `"type":"raise_max","wrote":2000,"found":500,"original":1000,"foreign":"changed","text":"somebody"`)
}

func revert(d *diary) *diary {
	return d.write("revert", `"uid":0,"text":"uid 0 puts every value back"`).
		write("outcome", `"action":{"type":"restore_max","from":2000,"to":1000},"ok":true,"before":2000,"after":1000`)
}

func TestWhatAPersonAskedForIsTold(t *testing.T) {
	d := newDiary().open("A", 0).write("pause", `"uid":0,"text":"uid 0 pauses it"`).write("resume", `"uid":0,"text":"uid 0 lets it go on"`).
		write("revert", `"reason":"x","text":"uid 0 puts every value back"`)
	var got []string
	for _, d := range d.group(Grouper{})[0].Decisions {
		got = append(got, d.Text)
	}
	want := []string{"uid 0 pauses it", "uid 0 lets it go on", "uid 0 puts every value back"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestDamageIsToldAndTolerated(t *testing.T) {
	d := newDiary().open("A", 0).write("verdict", `"incident":"A","type":"no_such_thing"`).
		write("sample", `"incident":"A","at":"1s","samples":[[1]]`).write("of_a_later_version", `"incident":"A"`).close("A", 0).
		write("gap", `"reason":"torn"`).write("sample", `"netns":5,"samples":"none"`)
	i := d.group(Grouper{})[0]
	if i.Status != Closed || len(i.Gaps) != 2 {
		t.Errorf("%s with gaps %q, want closed with 2", i.Status, i.Gaps)
	}
}

func TestDrillIsOneIncident(t *testing.T) {
	var g Grouper
	for _, e := range drill(t) {
		g.Add(e)
	}
	found := slices.Collect(g.Newest())
	if len(found) != 1 || len(found[0].Gaps) != 0 {
		t.Fatalf("%d incidents, gaps %v", len(found), found)
	}
	i := found[0]
	if i.Cause != policy.HalfOpen || i.Counts.Done == 0 || i.Cost.Deleted[policy.Unreplied] == 0 || i.Losses.Evicted == 0 {
		t.Errorf("%+v", i)
	}
	for _, d := range i.Decisions {
		if d.Action != nil && d.Outcome == nil {
			t.Errorf("%s has no outcome", d.Text)
		}
	}
}

func FuzzGrouper(f *testing.F) {
	for _, e := range drill(f) {
		f.Add(string(e.Kind), e.Line, e.Line, int64(1))
	}
	f.Add("start", []byte(`{"boot_id":"x"}`), []byte(`{"incident":"`), int64(-1))
	f.Fuzz(func(t *testing.T, kind string, first, second []byte, span int64) {
		g := Grouper{Keep: 2}
		at := time.Unix(1e9, 0)
		g.Add(Event{Seq: 1, Time: at, Kind: record.Kind(kind), Line: first})
		g.Add(Event{Seq: 2, Time: at, Kind: "incident.open", Line: []byte(`{"incident":"A"}`)})
		g.Add(Event{Seq: 3, Time: at.Add(time.Duration(span)), Kind: record.Kind(kind), Line: second})
		g.Add(Event{Seq: 4, Time: at, Kind: "sample", Line: second})
		found := slices.Collect(g.Newest())
		for i := range found {
			if found[i].ID == "" || found[i].Duration < 0 || found[i].End.Before(found[i].Start) {
				t.Errorf("%+v", found[i])
			}
		}
	})
}

func TestTopTalkersAreKeptWhereTheyAreRecorded(t *testing.T) {
	d := newDiary().open("A", 0).write("census", `"incident":"A","seen":100,"assured":100,"top":{"sources":[{"key":"192.0.2.1","count":60,"error":0}],`+
		`"destination_ports":[{"key":"tcp/6379","count":40,"error":1},{"key":"tcp/80","count":19,"error":1},{"key":"udp/53","count":41,"error":0}]}`)
	i := d.group(Grouper{})[0]
	if len(i.Gaps) != 0 || i.Before == nil || i.Before.Top == nil || i.Before.Top.Sources[0].Count != 60 {
		t.Fatalf("%+v, gaps %q", i.Before, i.Gaps)
	}
	if diff := cmp.Diff(i.Before.Top.Ports, i.Facts().Top.Ports); diff != "" {
		t.Errorf("ports of the facts (-want +got):\n%s", diff)
	}
}
