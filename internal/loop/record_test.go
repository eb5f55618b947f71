package loop_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// runWith runs the loop on a host, by other deps, limits and memories than those
// of runHost.
func (h *host) runWith(t *testing.T, deps loop.Deps, limits policy.Limits, lines *inbox, kept map[uint32]loop.Snapshot, during func(*loop.Loop)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	d := loop.New(lines.connect(deps), limits, kept)
	ended := make(chan struct{})
	go func() { defer close(ended); d.Run(ctx) }()
	during(d)
	cancel()
	<-ended
}

// full returns limits under which max can't be raised.
func full() policy.Limits {
	limits := policy.Defaults()
	limits.Raise.Ceiling = 0
	return limits
}

func TestObserveModeRecordsWould(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0)
		h.fill[0] = 97_000
		limits := policy.Defaults()
		limits.Mode = policy.Observe
		h.runWith(t, h.deps(), limits, nil, nil, func(*loop.Loop) { time.Sleep(3 * time.Second) })
		if len(h.applied) > 0 {
			t.Errorf("did %+v", h.applied)
		}
		if h.count(record.KindPlan, "Text:would set nf_conntrack_max") != 1 || h.count(record.KindPlan, "(97000 of 100000 entries (97.0%), exhausted") != 1 {
			t.Errorf("no plan says what it would do, and when: %v", h.records)
		}
		if h.count(record.KindOutcome, "OK:true") != 1 {
			t.Errorf("no outcome says that nothing was done: %v", h.records)
		}
		if h.count(record.KindPlan, fmt.Sprintf("PolicyVersion:%d ", policy.Version)) != 1 {
			t.Errorf("the plan does not name the version of the policy: %v", h.records)
		}
	})
}

// TestAHoldIsRecordedAgainAtAnotherLevel, and not at each turn.
func TestAHoldIsRecordedAgainAtAnotherLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0)
		h.fill[0] = 87_000
		h.runWith(t, h.deps(), full(), nil, nil, func(d *loop.Loop) {
			time.Sleep(10 * time.Second)
			held := d.Status().Tables[0].Held
			n := h.count(record.KindHold, "")
			if n != 1 {
				t.Errorf("%d records of one hold: %v", n, h.records)
			}
			h.set(func() { h.fill[0] = 97_000 })
			time.Sleep(10 * time.Second)
			if d.Status().Tables[0].Held != held {
				t.Fatalf("held %s, then %s: this test is about one hold", held, d.Status().Tables[0].Held)
			}
		})
		if n := h.count(record.KindHold, ""); n != 2 {
			t.Errorf("%d records of a hold at two levels, want 2: %v", n, h.records)
		}
	})
}

// TestARestartResetsWatchedSince: how long an entry has been idle is not
// proven by what stood before.
func TestARestartResetsWatchedSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0)
		begun := h.now()
		h.runWith(t, h.deps(), policy.Defaults(), nil, map[uint32]loop.Snapshot{0: {State: policy.State{Since: 1}}}, func(d *loop.Loop) {
			time.Sleep(3 * time.Second)
			if since := d.Status().Tables[0].State.Since; since < begun {
				t.Errorf("watched since %s, began at %s", since, begun)
			}
		})
	})
}

func TestASignalIsRecordedOnceWithItsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0, 7, 8)
		h.fill[7], h.fill[8] = 93_000, 93_000
		lines := newInbox()
		elsewhere := uint32(0)
		h.runWith(t, h.deps(), full(), lines, nil, func(d *loop.Loop) {
			time.Sleep(1500 * time.Millisecond)
			lines.add(policy.Signal{NetNS: 7, Named: true, Count: 3, Source: "kmsg"})
			synctest.Wait()
			elsewhere = d.Status().Tables[0].Assessment.Observation.Elsewhere
			time.Sleep(time.Second)
			if one, all := h.count(record.KindSignal, "in netns 7, dropping packet (3 times)"), h.count(record.KindSignal, ""); one != 1 || all != 1 {
				t.Errorf("%d records of the line, %d of lines", one, all)
			}
			lines.add(policy.Signal{Count: 1, Source: "kmsg"})
			time.Sleep(time.Second)
		})
		if elsewhere != 0 {
			t.Error("the own table was reported of a line that another one was given")
		}
		if n := h.count(record.KindSignal, "full, dropping packet"); n != 2 || h.count(record.KindSignal, "times") != 1 {
			t.Errorf("%d records of a line without a name about two tables that are nearly full: %v", n, h.records)
		}
	})
}

func TestIncidentsOfDifferentSecondsHaveNoSuffix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0, 7, 8)
		h.fill[7] = 80_000
		runHost(t, h, nil, func(*loop.Loop) {
			time.Sleep(3 * time.Second)
			h.set(func() { h.fill[8] = 80_000 })
			time.Sleep(3 * time.Second)
		})
		if n := h.count(record.KindIncidentOpen, ""); n != 2 || h.count(record.KindIncidentOpen, "Z-") != 0 {
			t.Errorf("%d incidents: %v", n, h.records)
		}
	})
}

// TestACensusBelongsToItsTable, where entries can be listed: the own one's need a
// right, those of others are not asked for without.
func TestACensusBelongsToItsTable(t *testing.T) {
	for name, c := range map[string]struct {
		may  bool
		want map[uint32]uint64
	}{
		"with the right": {true, map[uint32]uint64{0: 100, 7: 107, 8: 108}},
		"without it":     {false, map[uint32]uint64{0: 0, 7: 107, 8: 108}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(100_000, 0, 7, 8)
				h.fill[0], h.fill[7], h.fill[8] = 80_000, 80_000, 80_000
				deps := h.deps()
				observe := deps.Observe
				deps.Observe = func(ctx context.Context) ([]policy.Observation, error) {
					all, err := observe(ctx)
					all[0].Kernel.Entries = c.may
					return all, err
				}
				deps.Census = func(_ context.Context, _ policy.Limits, o policy.Observation) (loop.CensusResult, error) {
					return loop.CensusResult{Summary: census.Summary{Seen: 100 + uint64(o.Table.NetNS)}}, nil
				}
				h.runWith(t, deps, full(), nil, nil, func(d *loop.Loop) {
					time.Sleep(15 * time.Second)
					got := map[uint32]uint64{}
					for _, table := range d.Status().Tables {
						got[table.NetNS] = table.Assessment.Observation.Census.Seen
					}
					if diff := cmp.Diff(c.want, got); diff != "" {
						t.Errorf("entries looked at (-want +got):\n%s", diff)
					}
				})
			})
		})
	}
}

// TestACensusErrorOfOneTableIsReportedOnce, while the others are looked into.
func TestACensusErrorOfOneTableIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0, 7, 8)
		h.fill[7], h.fill[8] = 80_000, 80_000
		deps := h.deps()
		deps.Census = func(_ context.Context, _ policy.Limits, o policy.Observation) (loop.CensusResult, error) {
			if o.Table.NetNS == 7 {
				return loop.CensusResult{}, errors.New("no buffer space available")
			}
			return loop.CensusResult{}, nil
		}
		recorded := []string{}
		deps.ReportError = func(what string, _ error) { recorded = append(recorded, what) }
		h.runWith(t, deps, full(), nil, nil, func(d *loop.Loop) {
			time.Sleep(5 * time.Minute)
			if all := slices.Collect(maps.Keys(d.Status().Errors)); len(all) != 1 || !strings.Contains(all[0], "netns 7") {
				t.Errorf("trouble with %q", all)
			}
			h.set(func() { h.order = []uint32{0, 8} })
			time.Sleep(10 * time.Second)
			if all := d.Status().Errors; len(all) != 0 {
				t.Errorf("trouble with what is gone: %q", all)
			}
		})
		if len(recorded) != 1 {
			t.Errorf("reported %q", recorded)
		}
	})
}

// TestAHostWideChangeStartsTheNextTurnSoon: at the first turn it is found
// that somebody else has written max.
func TestAHostWideChangeStartsTheNextTurnSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0, 7)
		h.fill[7] = 97_000
		var state policy.State
		state.Max = policy.Knob{Original: 50_000, Written: 90_000}
		h.runWith(t, h.deps(), full(), nil, map[uint32]loop.Snapshot{0: {State: state}}, func(d *loop.Loop) {
			time.Sleep(500 * time.Millisecond)
			if level := d.Status().Tables[1].Level; level != policy.Exhausted {
				t.Errorf("half a second on, the full table is %s", level)
			}
		})
		if n := h.count(record.KindOverride, ""); n != 1 {
			t.Errorf("%d overrides: this test is about one", n)
		}
	})
}

// TestTheFlightRecorderRecordsTheLastSecond of a namespace that vanishes, and of a
// daemon that stops.
func TestTheFlightRecorderRecordsTheLastSecond(t *testing.T) {
	for name, leave := range map[string]func(*host){
		"it vanishes": func(h *host) { h.set(func() { h.order = []uint32{0} }); time.Sleep(2 * time.Second) },
		"it stops":    func(*host) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(100_000, 0, 7)
				h.fill[7] = 80_000
				var rows []record.Sample
				deps := h.deps()
				deps.Record = func(payload record.Payload) error {
					if samples, ok := payload.(*record.Samples); ok {
						rows = append(rows, samples.Rows...)
					}
					return nil
				}
				var left policy.BootTime
				h.runWith(t, deps, full(), nil, nil, func(*loop.Loop) {
					time.Sleep(4500 * time.Millisecond)
					left = h.now()
					leave(h)
				})
				if len(rows) == 0 || left.Since(rows[len(rows)-1].At) > time.Second {
					t.Errorf("at %s the last of %d samples is %+v", left, len(rows), rows[max(0, len(rows)-1):])
				}
			})
		})
	}
}

// TestWithoutATableNothingIsSampled: five minutes of zeros before an incident
// would say that the table was empty.
func TestWithoutATableNothingIsSampled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0)
		h.fill[0] = 1_000
		absent := true
		deps := h.deps()
		observe := deps.Observe
		deps.Observe = func(ctx context.Context) ([]policy.Observation, error) {
			all, err := observe(ctx)
			h.set(func() { all[0].Absent = absent })
			return all, err
		}
		before := 0
		deps.Record = func(payload record.Payload) error {
			if samples, ok := payload.(*record.Samples); ok && samples.Before {
				before += len(samples.Rows)
			}
			return nil
		}
		h.runWith(t, deps, full(), nil, nil, func(*loop.Loop) {
			time.Sleep(3 * time.Minute)
			h.set(func() { absent = false })
			time.Sleep(10 * time.Second)
			h.set(func() { h.fill[0] = 80_000 })
			time.Sleep(5 * time.Second)
		})
		if before < 5 || before > 15 {
			t.Errorf("%d samples of a table that was there for 10 s", before)
		}
	})
}

// TestAPlanStopsWhenItsOutcomeCannotBeRecorded: what was done stays done, but
// nothing more is.
func TestAPlanStopsWhenItsOutcomeCannotBeRecorded(t *testing.T) {
	for name, c := range map[string]struct {
		full bool // the disk, from the first outcome on
		want func(n int) bool
	}{
		"all is recorded":       {false, func(n int) bool { return n > 1 }},
		"the outcomes can't be": {true, func(n int) bool { return n == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.fixed = 97_000
				w.census = census.Summary{Seen: 97_000, Unreplied: 90_000, HalfOpen: 90_000}
				deps := w.deps()
				disk := error(nil)
				deps.Record = func(payload record.Payload) error {
					if payload.Kind() == record.KindOutcome && c.full {
						disk = errors.New("no space left on device")
					}
					return disk
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				limits := full()
				limits.NoHostWide = true
				loop.New(deps, limits, nil).Run(ctx)
				if n := len(w.applied); !c.want(n) {
					t.Errorf("%d actions: %+v", n, w.applied)
				}
			})
		})
	}
}
