package loop_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// A world is a host whose table grows by rate entries a second, for the loop
// to run on in the simulated time of synctest.
type world struct {
	mu      sync.Mutex
	t       *testing.T
	start   time.Time
	last    time.Time
	table   conntrack.Table
	rate    float64
	census  census.Summary
	records []string
	kinds   []record.Kind
	refuse  error // of Record
	applied []policy.Action
	yielded int
	fixed   uint64 // the entries, if not 0, whatever is done
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, start: time.Now(), last: time.Now()}
	w.table = conntrack.Table{Max: 100_000, Buckets: 1 << 20}
	return w
}

func (w *world) deps() loop.Deps {
	return loop.Deps{
		Now: func() (time.Time, policy.BootTime) {
			return time.Now(), policy.BootTime(time.Since(w.start) + time.Hour)
		},
		Observe: w.observe,
		Apply:   w.apply,
		Record: func(payload record.Payload) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.refuse != nil {
				return w.refuse
			}
			w.kinds = append(w.kinds, payload.Kind())
			w.records = append(w.records, fmt.Sprintf("%s %s", time.Since(w.start).Round(time.Second), payload.Kind()))
			return nil
		},
		Yield: func(uint32, policy.Override) error { w.yielded++; return nil },
		Census: func(context.Context, policy.Limits, policy.Observation) (loop.CensusResult, error) {
			return loop.CensusResult{Summary: w.census}, nil
		},
	}
}

func (w *world) observe(context.Context) ([]policy.Observation, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	elapsed := time.Since(w.last).Seconds()
	w.last = time.Now()
	grown := uint64(w.rate * elapsed)
	if room := w.table.Max - min(w.table.Entries, w.table.Max); grown > room {
		w.table.Counters.Drop += grown - room
		grown = room
	}
	w.table.Entries += grown
	if w.fixed > 0 {
		w.table.Max, w.table.Entries = 100_000, w.fixed
	}
	return []policy.Observation{{
		At: time.Now(), Now: policy.BootTime(time.Since(w.start) + time.Hour), Table: w.table,
		Timeouts: conntrack.Timeouts{conntrack.UDP: 30, conntrack.TCPSynSent: 120, conntrack.TCPTimeWait: 120},
		Memory:   policy.Memory{Total: 16 << 30, Available: 8 << 30, EntryBytes: 256},
		Kernel:   policy.Kernel{MaxWritable: true, BucketsWritable: true, TimeoutsWritable: true, Entries: true},
	}}, nil
}

func (w *world) apply(_ context.Context, _ string, act policy.Action) policy.Outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied = append(w.applied, act)
	out := policy.Outcome{Action: act, OK: true, Before: act.From, After: act.To}
	switch act.Type {
	case policy.RaiseMax:
		w.table.Max = act.To
	case policy.ResizeHash:
		w.table.Buckets = act.To
	case policy.DeleteEntries:
		out.Changed = act.Cap
		w.table.Entries -= act.Cap
	}
	return out
}

// run lets the loop run on w for d of simulated time.
func (w *world) run(limits policy.Limits, lines *inbox, d time.Duration, during func(*loop.Loop)) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	dm := loop.New(lines.connect(w.deps()), limits, nil)
	ended := make(chan struct{})
	go func() { defer close(ended); dm.Run(ctx) }()
	if during != nil {
		during(dm)
	}
	time.Sleep(d)
	cancel()
	<-ended
}

// set changes how the table grows, and how full it is, from now on.
func (w *world) set(rate float64, entries uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rate, w.table.Entries = rate, entries
}

// refuseWith makes every record fail from now on; nil makes them succeed.
func (w *world) refuseWith(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse = err
}

func (w *world) count(kind record.Kind) int {
	n := 0
	for _, k := range w.kinds {
		if k == kind {
			n++
		}
	}
	return n
}

func TestMaxIsRaisedBeforeAPacketIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rate = 5000
		w.run(policy.Defaults(), nil, time.Minute, nil)
		if w.table.Counters.Drop != 0 {
			t.Errorf("lost %d packets, want none; records:\n%s", w.table.Counters.Drop, strings.Join(w.records, "\n"))
		}
		if len(w.applied) == 0 || w.applied[0].Type != policy.RaiseMax {
			t.Errorf("applied %v, want a raise first", w.applied)
		}
		if w.count(record.KindPlan) != w.count(record.KindOutcome) || w.count(record.KindIncidentOpen) != 1 {
			t.Errorf("records: %v", w.records)
		}
	})
}

func TestACalmDayWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.table.Entries = 10_000
		w.run(policy.Defaults(), nil, 24*time.Hour, nil)
		if len(w.records)+len(w.applied) != 0 {
			t.Errorf("records %v, applied %v, want none", w.records, w.applied)
		}
	})
}

func TestNoAuditNoAction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rate = 5000
		w.refuse = errors.New("no space left on device")
		w.run(policy.Defaults(), nil, 30*time.Second, func(d *loop.Loop) {
			time.Sleep(25 * time.Second)
			status := d.Status()
			if got := status.Tables[0].Held; got != policy.HeldNoAudit {
				t.Errorf("held %v, want %v", got, policy.HeldNoAudit)
			}
			if status.Errors["record"] != "no space left on device" {
				t.Errorf("trouble %v does not name the disk", status.Errors)
			}
		})
		if len(w.applied) != 0 {
			t.Errorf("applied %v without a record", w.applied)
		}
	})
}

func TestObserveModeAppliesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rate = 5000
		limits := policy.Defaults()
		limits.Mode = policy.Observe
		w.run(limits, nil, time.Minute, nil)
		if len(w.applied) != 0 {
			t.Errorf("applied %v in observe mode", w.applied)
		}
		if w.count(record.KindPlan) == 0 || w.count(record.KindOutcome) != w.count(record.KindPlan) {
			t.Errorf("records %v, want the same plans as in enforce", w.records)
		}
	})
}

func TestAFirstSignalStartsATurnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.table.Entries = 92_000
		lines := newInbox()
		limits := policy.Defaults()
		limits.Sampling.Calm, limits.Sampling.High = time.Hour, time.Hour
		limits.Levels.HighEnter = 9400
		limits.Levels.ElevatedEnter = 9400
		w.run(limits, lines, time.Second, func(*loop.Loop) {
			time.Sleep(10 * time.Minute)
			sent := time.Now()
			lines.add(policy.Signal{Count: 1, Source: "kmsg"})
			synctest.Wait()
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(w.applied) != 1 || w.applied[0].Type != policy.RaiseMax {
				t.Fatalf("applied %v after a line, want a raise", w.applied)
			}
			if took := time.Since(sent); took != 0 {
				t.Errorf("took %s", took)
			}
		})
	})
}

func TestASignalOfAnotherNamespaceIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.table.Entries = 1000
		lines := newInbox()
		w.run(policy.Defaults(), lines, 10*time.Second, func(d *loop.Loop) {
			time.Sleep(time.Second)
			lines.add(policy.Signal{NetNS: 4026532177, Named: true, Count: 1, Source: "kmsg"})
			time.Sleep(60 * time.Millisecond)
			if got := d.Status().Tables[0].Held; got != policy.HeldElsewhere {
				t.Errorf("held %v, want %v", got, policy.HeldElsewhere)
			}
		})
		if len(w.applied) != 0 {
			t.Errorf("applied %v to a table that is not full", w.applied)
		}
		if w.count(record.KindSignal) != 1 || w.count(record.KindHold) != 1 {
			t.Errorf("records %v, want the line and the hold", w.records)
		}
	})
}

func TestPauseHoldsAndResumeActs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rate = 5000
		w.run(policy.Defaults(), nil, 20*time.Second, func(d *loop.Loop) {
			by := record.Requester{Reason: "maintenance", For: time.Hour, UID: 0, PID: 1}
			if err := d.Pause(t.Context(), by); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
			w.mu.Lock()
			if len(w.applied) != 0 {
				t.Errorf("applied %v while paused", w.applied)
			}
			w.mu.Unlock()
			if err := d.Resume(t.Context(), by); err != nil {
				t.Fatal(err)
			}
		})
		if len(w.applied) == 0 {
			t.Errorf("applied nothing after resume")
		}
	})
}

// TestStatusFollowsPauseAndResume: whoever pauses and looks must not read that
// it is at work, nor "off" of a daemon that has just begun.
func TestStatusFollowsPauseAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		limits := policy.Defaults()
		if s := loop.New(w.deps(), limits, nil).Status(); s.Mode != policy.Enforce || !s.At.IsZero() {
			t.Errorf("before the first look: %+v", s)
		}
		w.run(limits, nil, time.Second, func(d *loop.Loop) {
			time.Sleep(10*time.Second + limits.Sampling.Calm/2) // between two looks
			if err := d.Pause(t.Context(), record.Requester{Reason: "maintenance", For: time.Hour}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(limits.Sampling.Min)
			if held := d.Status().Tables[0].Held; held != policy.HeldPaused {
				t.Errorf("paused, and the status says %q", held)
			}
			if err := d.Resume(t.Context(), record.Requester{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(limits.Sampling.Min)
			if held := d.Status().Tables[0].Held; held == policy.HeldPaused {
				t.Errorf("resumed, and the status says %q", held)
			}
		})
	})
}

func TestAStoppedLoopRefusesRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var stopped *loop.Loop
		w.run(policy.Defaults(), nil, time.Second, func(d *loop.Loop) { stopped = d })
		if err := stopped.Resume(t.Context(), record.Requester{}); !errors.Is(err, loop.ErrStopped) {
			t.Errorf("error %v, want %v", err, loop.ErrStopped)
		}
	})
}

func TestAnExternalChangeIsYieldedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rate = 5000
		w.run(policy.Defaults(), nil, 10*time.Second, func(*loop.Loop) {
			time.Sleep(30 * time.Second)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.rate = 0
			w.table.Max = 100_000
			w.table.Entries = 99_000
		})
		if w.yielded != 1 || w.count(record.KindOverride) != 1 {
			t.Errorf("yielded %d times, records %v", w.yielded, w.records)
		}
		if w.table.Max != 100_000 {
			t.Errorf("max is %d: the administrator's value was touched", w.table.Max)
		}
	})
}

func TestAPauseIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		deps := w.deps()
		var kept loop.Snapshot
		deps.Save = func(tables map[uint32]loop.Snapshot) error { kept = tables[0]; return nil }
		ctx, cancel := context.WithCancel(t.Context())
		d := loop.New(deps, policy.Defaults(), nil)
		ended := make(chan struct{})
		go func() { defer close(ended); d.Run(ctx) }()
		synctest.Wait()
		if err := d.Pause(ctx, record.Requester{For: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if kept.State.PausedUntil == 0 {
			t.Error("a restart would forget the pause")
		}
		if err := d.Resume(ctx, record.Requester{}); err != nil {
			t.Fatal(err)
		}
		if kept.State.PausedUntil != 0 {
			t.Error("a restart would forget that the pause has ended")
		}
		cancel()
		<-ended
	})
}

func TestARevertKeepsTheClaimsItLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		deps := w.deps()
		var kept loop.Snapshot
		deps.Save = func(tables map[uint32]loop.Snapshot) error { kept = tables[0]; return nil }
		state := policy.State{Max: policy.Knob{Original: 50_000, Written: 100_000}, Buckets: policy.Knob{Original: 1, Written: 1 << 20}}
		ctx, cancel := context.WithCancel(t.Context())
		d := loop.New(deps, policy.Defaults(), map[uint32]loop.Snapshot{0: {State: state}})
		ended := make(chan struct{})
		go func() { defer close(ended); d.Run(ctx) }()
		synctest.Wait()
		err := d.Between(ctx, func() func(*policy.State, uint32) {
			return func(s *policy.State, _ uint32) { s.Max = state.Max }
		})
		if err != nil {
			t.Fatal(err)
		}
		if kept.State.Max != state.Max || kept.State.Buckets != (policy.Knob{}) {
			t.Errorf("claims %+v and %+v, want the max that was left alone", kept.State.Max, kept.State.Buckets)
		}
		cancel()
		<-ended
	})
}

// TestAChangeOfLevelIsSaved: after a crash the next start goes on with the same
// incident.
func TestAChangeOfLevelIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fixed = 60_000
		var kept loop.Snapshot
		saves := 0
		deps := w.deps()
		deps.Save = func(tables map[uint32]loop.Snapshot) error {
			kept = tables[0]
			saves++
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() {
			time.Sleep(30 * time.Second)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.fixed = 80_000 // elevated: nothing is done about it
		}()
		loop.New(deps, policy.Defaults(), nil).Run(ctx)
		if len(w.applied) > 0 || saves != 1 || kept.State.Level != policy.Elevated || kept.Incident == "" {
			t.Errorf("%d acts, saved %d times: level %s, incident %q", len(w.applied), saves, kept.State.Level, kept.Incident)
		}
	})
}

// TestTheBreakerIsRecordedOnce when it opens, with what it kept from being done.
func TestTheBreakerIsRecordedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		limits := policy.Defaults()
		limits.Breaker.Acts = 1
		w.set(3000, 60_000)
		w.run(limits, nil, 10*time.Minute, nil)
		if n := w.count(record.KindBreaker); len(w.applied) != 1 || n != 1 {
			t.Errorf("%d acts and %d breakers recorded, want one of each", len(w.applied), n)
		}
	})
}

// TestALastingHoldIsRecordedPeriodically, and the status says it in words.
func TestALastingHoldIsRecordedPeriodically(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fixed = 97_000
		limits := policy.Defaults()
		limits.Raise.Ceiling, limits.Hash.MaxRatio = 0, 0
		w.run(limits, nil, 0, func(d *loop.Loop) {
			time.Sleep(21 * time.Minute)
			if s := d.Status().Tables[0]; s.HeldText != s.Held.Sentence() || s.Held.Quiet() {
				t.Errorf("held %q: %q", s.Held, s.HeldText)
			}
		})
		if n := w.count(record.KindHold); len(w.applied) > 0 || n < 5 || n > 10 {
			t.Errorf("%d acts, %d holds recorded in 21 minutes, want one or two each five", len(w.applied), n)
		}
	})
}

// TestAnErrorAndItsEndAreReportedOnce.
func TestAnErrorAndItsEndAreReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		deps := w.deps()
		var recorded []string
		deps.ReportError = func(what string, err error) { recorded = append(recorded, fmt.Sprintf("%s: %v", what, err)) }
		observe := deps.Observe
		deps.Observe = func(ctx context.Context) ([]policy.Observation, error) {
			if age := time.Since(w.start); age > 10*time.Second && age < 20*time.Second {
				return nil, errors.New("too many open files")
			}
			return observe(ctx)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		loop.New(deps, policy.Defaults(), nil).Run(ctx)
		want := "observe: too many open files; observe: <nil>"
		if got := strings.Join(recorded, "; "); got != want {
			t.Errorf("reported %q, want %q", got, want)
		}
	})
}
