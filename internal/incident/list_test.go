package incident

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/policy"
)

func TestAListKeepsTheFiguresOfTheNewest(t *testing.T) {
	d := newDiary().open("A", 0).plan("A", policy.Load, 900, 0).close("A", 0).wait(time.Hour).
		open("B", 0).plan("B", policy.Load, 900, 0).close("B", 0)
	found := d.group(Grouper{Depth: Summary, Keep: 1})
	if len(found) != 1 || found[0].ID != "B" || len(found[0].Decisions) != 0 || len(found[0].Curve) == 0 {
		t.Errorf("the newest of a list: %+v", found)
	}
}

// TestALongListTakesLittle bounds what a list keeps of each of very many
// incidents.
func TestALongListTakesLittle(t *testing.T) {
	const incidents, most = 500, 4 << 10 // bytes of each
	events := drill(t)
	g := Grouper{Depth: Summary}
	before := heap()
	for n := range incidents {
		for _, e := range events {
			e.Time = e.Time.Add(time.Duration(n) * time.Hour)
			e.Line = bytes.ReplaceAll(e.Line, []byte(`"incident":"INC-`), fmt.Appendf(nil, `"incident":"%d-`, n))
			g.Add(e)
		}
	}
	each := (heap() - before) / incidents
	if g.Len() != incidents {
		t.Fatalf("%d incidents", g.Len())
	}
	if each > most {
		t.Errorf("%d bytes of each incident are kept, want at most %d", each, most)
	}
	n := 0
	for i := range g.Newest() {
		if len(i.Curve) == 0 || len(i.Curve) > sparkPoints || i.Losses.Evicted == 0 {
			t.Fatalf("%s: %d points, %+v", i.ID, len(i.Curve), i.Losses)
		}
		n++
	}
	if n != incidents {
		t.Errorf("%d of %d incidents", n, incidents)
	}
}

// heap is how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestWhatGoesOnIsNotForgotten(t *testing.T) {
	d := newDiary().open("A", 1).open("B", 2).close("B", 2).open("C", 3).close("C", 3).wait(time.Hour).open("D", 4).raised("A", 1, 2)
	g := Grouper{Depth: Outline, Keep: 1}
	found := d.group(g)
	var names []string
	for _, i := range found {
		if i.Partial {
			t.Errorf("%s began twice", i.ID)
		}
		names = append(names, i.ID)
	}
	if diff := cmp.Diff([]string{"A", "C", "D"}, names); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

// TestAnIncidentReadAgainIsTheSame reads logs once, whole, and each incident
// again by its outline: only the records between its first and its last.
func TestAnIncidentReadAgainIsTheSame(t *testing.T) {
	config := func(d *diary, retry int) *diary {
		return d.write("config", `"digest":"%d","limits":{"breaker":{"acts":%d}},"text":"the limits in force"`, retry, retry)
	}
	d := newDiary().start("1")
	config(d, 7).open("A", 0).plan("A", policy.Load, 900, 0).raised("A", 1000, 2000).open("N", 9).plan("N", policy.Churn, 500, 0)
	config(d, 8).write("verdict", `"incident":"A","type":"raise_max","acted_at":%q,"result":"helped","before":{},"after":{"at":%q}`, d.moment(), d.moment())
	d.write("pause", `"text":"quiet"`).close("A", 0).wait(time.Minute)
	d.open("B", 0).plan("B", policy.Load, 950, 3).write("gap", `"reason":"torn"`).close("B", 0).wait(time.Hour)
	d.write("sample", `"incident":"B","wall":"2026-11-20T19:00:00Z","at":%q,"samples":[[0,1,2,3,4,5,6,7,8,9,0]]`, d.moment())
	d.open("C", 0).start("1").plan("C", policy.Stale, 990, 9).raised("B", 2000, 3000).close("N", 9).write("pause", `"text":"late"`)
	d.start("2").open("D", 0).plan("D", policy.Load, 990, 9).start("3")
	d.open("E", 4).write("sample", `"incident":"E","wall":"2026-11-20T21:00:00Z","at":%q,"samples":[[0,1,2,3,4,5,6,7,8,9,0]]`, d.moment()).start("4")
	d.write("revert", `"text":"all"`).write("outcome", `"action":{"type":"restore_max","netns":0},"ok":true,"before":2000,"after":1000`)
	logs := map[string][]Event{"a diary": d.events, "a drill": drill(t)}
	for name, events := range logs {
		var whole Grouper
		for _, e := range events {
			whole.Add(e)
		}
		found := slices.Collect(whole.Newest())
		for n := range found {
			id := found[n].ID
			outline := Grouper{Depth: Outline, Keep: 1, AlwaysKeep: id}
			for _, e := range events {
				outline.Add(e)
			}
			o, ok := outline.Find(id)
			if !ok {
				t.Fatalf("%s: no outline of %s", name, id)
			}
			again := o.Whole()
			for _, e := range events {
				if e.Seq >= o.Seq && (o.Status == Open || e.Seq <= o.LastSeq) {
					again.Add(e)
				}
			}
			got, _ := again.Find(id)
			got.Changed, got.Status, got.Partial = o.Changed, o.Status, o.Partial
			if diff := cmp.Diff(asJSON(t, found[n]), asJSON(t, got)); diff != "" {
				t.Errorf("%s: %s at once and again (-once +again):\n%s", name, id, diff)
			}
			if diff := cmp.Diff(found[n].Limits, got.Limits); diff != "" {
				t.Errorf("%s: limits of %s (-once +again):\n%s", name, id, diff)
			}
		}
	}
}

// TestAListHasTheFiguresOfTheWhole compares them wherever the log may end: a
// list of an incident that goes on is not to say another peak than its report.
func TestAListHasTheFiguresOfTheWhole(t *testing.T) {
	events := drill(t)
	for end := range events {
		var whole, list Grouper
		list.Depth = Summary
		for _, e := range events[:end+1] {
			whole.Add(e)
			list.Add(e)
		}
		all := slices.Collect(whole.Newest())
		for n, got := range slices.Collect(list.Newest()) {
			want := all[n]
			want.Decisions, want.Before, want.After, want.HostContext, want.Cost, want.Limits = nil, nil, nil, HostContext{}, Cost{}, nil
			want.Curve, got.Curve = nil, nil
			if diff := cmp.Diff(asJSON(t, want), asJSON(t, got)); diff != "" {
				t.Errorf("figures of %s after record %d (-whole +list):\n%s", want.ID, end+1, diff)
			}
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
