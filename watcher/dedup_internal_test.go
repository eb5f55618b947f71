package watcher

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDedupPassesALineOfTwoSourcesOnce(t *testing.T) {
	read := func(source Source, at time.Duration) line { return line{source: source, mono: at} }
	in := func(netns uint32, l line) line {
		l.netns, l.named = netns, true
		return l
	}
	const k, j = SourceKmsg, SourceJournald
	const minute, second = time.Minute, time.Second
	for name, c := range map[string]struct {
		lines  []line
		passed []bool
	}{
		"the second source a moment later": {
			[]line{read(k, minute), read(j, minute+time.Millisecond)}, []bool{true, false},
		},
		"the second source was first to read": {
			[]line{read(k, minute), read(j, minute-second)}, []bool{true, false},
		},
		"the same source twice is two lines": {
			[]line{read(k, minute), read(k, minute)}, []bool{true, true},
		},
		"three lines against two": {
			[]line{read(k, minute), read(k, minute), read(j, minute), read(j, minute), read(j, minute)},
			[]bool{true, true, false, false, true},
		},
		"a second reading is used up": {
			[]line{read(k, minute), read(j, minute), read(j, minute), read(k, minute)}, []bool{true, false, true, false},
		},
		"too late to be the same": {
			[]line{read(k, minute), read(j, minute+3*second)}, []bool{true, true},
		},
		"too early to be the same": {
			[]line{read(k, minute), read(j, minute-3*second)}, []bool{true, true},
		},
		"the second source is behind, and says when": {
			[]line{read(k, minute), read(k, minute+5*second), read(j, minute), read(j, minute+5*second)},
			[]bool{true, true, false, false},
		},
		"lines kept as one entry are counted": {
			[]line{
				read(k, minute), read(k, minute+second/2), read(k, minute+second),
				read(j, minute), read(j, minute+second/2), read(j, minute+second), read(j, minute+second),
			},
			[]bool{true, true, true, false, false, false, true},
		},
		"another namespace": {
			[]line{in(7, read(k, minute)), in(8, read(j, minute))}, []bool{true, true},
		},
		"no namespace and one": {
			[]line{read(k, minute), in(8, read(j, minute))}, []bool{true, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var d dedup
			var got []bool
			for _, l := range c.lines {
				got = append(got, d.isNew(l))
			}
			if diff := cmp.Diff(c.passed, got); diff != "" {
				t.Errorf("passed (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDedupAllocatesNothing while a source reads what no other one confirms.
func TestDedupAllocatesNothing(t *testing.T) {
	var d dedup
	at := time.Minute
	allocs := testing.AllocsPerRun(2000, func() {
		d.isNew(line{source: SourceKmsg, mono: at})
		at += time.Millisecond
	})
	if allocs > 0.5 {
		t.Errorf("%.1f allocations for each line that is read once", allocs)
	}
}

// TestDedupOfManyNamespacesIsBounded: none of them is confirmed by the other
// source, and all come within the time that a second reading may take.
func TestDedupOfManyNamespacesIsBounded(t *testing.T) {
	var d dedup
	for i := range uint32(10 * maxDedup) {
		if !d.isNew(line{lineKey{i + 1, true}, SourceKmsg, time.Minute}) {
			t.Fatalf("the line of netns %d does not pass", i+1)
		}
	}
	if n := len(d.seen); n != maxDedup {
		t.Errorf("%d entries wait for their second reading, want %d", n, maxDedup)
	}
	if d.isNew(line{lineKey{10 * maxDedup, true}, SourceJournald, time.Minute}) {
		t.Error("the latest was forgotten before the oldest")
	}
}

// TestDedupDropsOldLines when no source can be so late any more.
func TestDedupDropsOldLines(t *testing.T) {
	var d dedup
	for i := range 1000 {
		d.isNew(line{source: SourceKmsg, mono: time.Duration(i) * time.Second})
	}
	if n, most := len(d.seen), int(dedupRetention/time.Second)+1; n > most {
		t.Errorf("%d entries of the last %s, want %d at most", n, dedupRetention, most)
	}
}
