package incident

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

func TestThinningKeepsThePeakAndTheLosses(t *testing.T) {
	tr := curve{limit: 8}
	for n := range 100 {
		entries := uint64(n)
		if n == 41 {
			entries = 900
		}
		c := conntrack.Counters{Drop: uint64(n) * 3}
		tr.add(Point{At: policy.BootTime(time.Duration(n+1) * time.Second), Entries: entries, Max: 1000}, &c)
	}
	if len(tr.points) > 8 || peak(tr.points).Entries != 900 || peak(tr.points).At != policy.BootTime(42*time.Second) {
		t.Errorf("%d points, peak %+v", len(tr.points), peak(tr.points))
	}
	for n := 1; n < len(tr.points); n++ {
		if tr.points[n].At <= tr.points[n-1].At || tr.points[n].Lost < tr.points[n-1].Lost {
			t.Errorf("points out of order: %+v", tr.points)
		}
	}
}

func TestARefusedActChangesNothing(t *testing.T) {
	d := newDiary().open("A", 0).write("outcome",
		`"incident":"A","action":{"type":"raise_max","from":1000,"to":2000},"ok":false,"error":"permission denied","before":1000,"after":2000`)
	i := d.group(Grouper{})[0]
	if len(i.Changed) != 0 || i.Counts.Failed != 1 {
		t.Errorf("changed %+v, tally %+v", i.Changed, i.Counts)
	}
}

func TestAVerdictBelongsToItsAct(t *testing.T) {
	d := newDiary().open("A", 0)
	first := d.moment()
	d.plan("A", policy.Load, 900, 0).raised("A", 1000, 2000).wait(time.Minute).plan("A", policy.Load, 900, 0).raised("A", 1000, 2000)
	d.write("verdict", `"incident":"A","type":"raise_max","acted_at":%q,"result":"helped"`, first)
	i := d.group(Grouper{})[0]
	var got []bool
	for n := range i.Decisions {
		got = append(got, i.Decisions[n].Verdict != nil)
	}
	if diff := cmp.Diff([]bool{true, false}, got); diff != "" {
		t.Errorf("judged (-want +got):\n%s", diff)
	}
	if i.Counts.Helped != 1 || i.Counts.Done != 2 {
		t.Errorf("tally %+v", i.Counts)
	}
}

func TestWhatWasSacrificedIsCountedByClass(t *testing.T) {
	d := newDiary().open("A", 0)
	for range 2 {
		d.write("outcome", `"incident":"A","action":{"type":"delete_entries","class":"unreplied"},"ok":true,"changed":5,`+
			`"entries":{"fates":{"eligible":5,"assured":3},"samples":[{"proto":17,"src":"192.0.2.1","dst":"192.0.2.2","left_s":1}]}`)
	}
	d.write("outcome", `"incident":"A","action":{"type":"age_entries","class":"closing"},"ok":true,"changed":7`)
	d.write("outcome", `"incident":"A","action":{"type":"delete_entries","class":"closing","would":true},"ok":true,"changed":9`)
	s := d.group(Grouper{})[0].Cost
	if s.Deleted[policy.Unreplied] != 10 || s.Deleted[policy.Closing] != 0 || s.Aged[policy.Closing] != 7 ||
		s.Spared[policy.SparedAssured] != 6 || s.Spared[policy.Eligible] != 0 || len(s.Samples) != 2 {
		t.Errorf("%+v", s)
	}
}

func TestUnknownIsACauseOnlyForWantOfAnother(t *testing.T) {
	d := newDiary().open("A", 0)
	for range 3 {
		d.plan("A", policy.Unknown, 900, 0)
	}
	if got := d.group(Grouper{})[0].Cause; got != policy.Unknown {
		t.Errorf("cause %v, want unknown", got)
	}
	if got := d.plan("A", policy.Stale, 900, 0).group(Grouper{})[0].Cause; got != policy.Stale {
		t.Errorf("cause %v, want stale", got)
	}
}

func TestTheSameHoldIsToldOnce(t *testing.T) {
	d := newDiary().open("A", 0)
	for _, held := range []string{"budget", "budget", "budget", "falling", "budget"} {
		d.write("hold", `"incident":"A","level":"high","cause":"load","held":%q,"text":"held"`, held)
	}
	i := d.group(Grouper{})[0]
	var got []int
	for n := range i.Decisions {
		got = append(got, i.Decisions[n].Repeats)
	}
	if diff := cmp.Diff([]int{2, 0, 0}, got); diff != "" || i.Counts.Holds != 5 {
		t.Errorf("told again (-want +got):\n%s\n%d holds", diff, i.Counts.Holds)
	}
}

func TestDeletedEntriesHadArrived(t *testing.T) {
	i := Incident{Curve: []Point{{At: 1e9, Entries: 1000, Max: 2000}, {At: 2e9, Entries: 1000, Max: 2000}}}
	i.First, i.Last = i.Curve[0], i.Curve[1]
	out := &policy.Outcome{OK: true, Changed: 500}
	i.Decisions = []Decision{{At: 15e8, Action: &policy.Action{Type: policy.DeleteEntries}, Outcome: out}}
	m := model{}
	if got := i.arrivals(&i.Curve[0], &i.Curve[1], &m); got != 500 {
		t.Errorf("%v arrived, want the 500 that were deleted", got)
	}
}

func TestShorterTimeoutsCountFromTheAct(t *testing.T) {
	i := Incident{HostContext: HostContext{Timeouts: conntrack.Timeouts{conntrack.UDP: 30}}}
	shorten := func(at policy.BootTime, ok, would bool, to uint64) {
		act := policy.Action{Type: policy.ShortenTimeout, Knob: conntrack.UDP, Would: would}
		i.Decisions = append(i.Decisions, Decision{At: at, Action: &act, Outcome: &policy.Outcome{Action: act, OK: ok, After: to}})
	}
	shorten(10, true, false, 20)
	shorten(20, false, false, 5)
	shorten(30, true, true, 6)
	for at, want := range map[policy.BootTime]uint32{9: 30, 10: 20, 40: 20} {
		if got := i.timeoutsAt(at)[conntrack.UDP]; got != want {
			t.Errorf("at %d: udp_timeout %d, want %d", at, got, want)
		}
	}
}
