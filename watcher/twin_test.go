package watcher_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/watcher"
)

func TestOneLineThroughTwoSourcesIsOneSignal(t *testing.T) {
	full := func(source watcher.Source, at time.Duration, count uint64) watcher.Signal {
		return watcher.Signal{Message: conntrack.Message{Kind: conntrack.TableFull}, Source: source, Mono: at, Count: count}
	}
	in := func(netns uint32, s watcher.Signal) watcher.Signal {
		s.NetNS, s.Named = netns, true
		return s
	}
	until := func(s watcher.Signal, last time.Duration) watcher.Signal {
		s.Until = last
		return s
	}
	const k, j = watcher.SourceKmsg, watcher.SourceJournald
	for name, c := range map[string]struct {
		signals []watcher.Signal
		passed  []uint64 // the count that passes of each; 0: none
	}{
		"the second source a moment later": {
			[]watcher.Signal{full(k, time.Minute, 1), full(j, time.Minute+time.Millisecond, 1)}, []uint64{1, 0},
		},
		"the second source was first to read": {
			[]watcher.Signal{full(k, time.Minute, 1), full(j, time.Minute-time.Second, 1)}, []uint64{1, 0},
		},
		"the same source twice is two lines": {
			[]watcher.Signal{full(k, time.Minute, 1), full(k, time.Minute, 1)}, []uint64{1, 1},
		},
		"three lines against two": {
			[]watcher.Signal{full(k, time.Minute, 2), full(j, time.Minute, 3)}, []uint64{2, 1},
		},
		"a twin is used up": {
			[]watcher.Signal{full(k, time.Minute, 1), full(j, time.Minute, 1), full(j, time.Minute, 1)}, []uint64{1, 0, 1},
		},
		"too late to be the same": {
			[]watcher.Signal{full(k, time.Minute, 1), full(j, time.Minute+3*time.Second, 1)}, []uint64{1, 1},
		},
		"too early to be the same": {
			[]watcher.Signal{full(k, time.Minute, 1), full(j, time.Minute-3*time.Second, 1)}, []uint64{1, 1},
		},
		"the second source is behind, and says when": {
			[]watcher.Signal{
				full(k, time.Minute, 1), full(k, time.Minute+5*time.Second, 1),
				full(j, time.Minute, 1), full(j, time.Minute+5*time.Second, 1),
			}, []uint64{1, 1, 0, 0},
		},
		"gathered while nobody took them": {
			[]watcher.Signal{
				full(k, time.Minute, 1), until(full(j, time.Minute, 5), time.Minute+4*time.Second),
				until(full(k, time.Minute+3*time.Second, 4), time.Minute+4*time.Second),
			}, []uint64{1, 4, 0},
		},
		"another namespace": {
			[]watcher.Signal{in(7, full(k, time.Minute, 1)), in(8, full(j, time.Minute, 1))}, []uint64{1, 1},
		},
		"no namespace and one": {
			[]watcher.Signal{full(k, time.Minute, 1), in(8, full(j, time.Minute, 1))}, []uint64{1, 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var twins watcher.Twins
			var got []uint64
			for _, s := range c.signals {
				single, ok := twins.Single(s)
				if ok != (single.Count > 0) {
					t.Errorf("%+v: new %t", single, ok)
				}
				got = append(got, single.Count)
			}
			if diff := cmp.Diff(c.passed, got); diff != "" {
				t.Errorf("counts that passed (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTwinsAreBounded has a source speak that no other one confirms.
func TestTwinsAreBounded(t *testing.T) {
	var twins watcher.Twins
	at := time.Minute
	allocs := testing.AllocsPerRun(2000, func() {
		twins.Single(watcher.Signal{Source: watcher.SourceKmsg, Count: 1, Mono: at})
		at += time.Millisecond
	})
	if allocs > 0.5 {
		t.Errorf("%.1f allocations for each signal that has no twin", allocs)
	}
}
