package loop_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// A heartbeats is when the loop said that it is alive, since its start.
type heartbeats struct {
	mu    sync.Mutex
	start time.Time
	beats []time.Duration
}

func (p *heartbeats) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beats = append(p.beats, time.Since(p.start))
}

// longest returns the longest silence between two moments.
func (p *heartbeats) longest(from, to time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var longest time.Duration
	last := from
	for _, at := range append(slices.Clone(p.beats), to) {
		if at > from && at <= to {
			longest, last = max(longest, at-last), at
		}
	}
	return longest
}

const (
	beat = 7 * time.Second
	hung = 3 * time.Minute
)

// withHeartbeats returns the deps of w with a heartbeats, and limits whose turns are a
// minute apart.
func withHeartbeats(w *world) (loop.Deps, *heartbeats, policy.Limits) {
	p := &heartbeats{start: time.Now()}
	deps := w.deps()
	deps.Heartbeat, deps.HeartbeatEvery = p.beat, beat
	limits := policy.Defaults()
	limits.Sampling.Calm, limits.Sampling.High = time.Minute, time.Minute
	return deps, p, limits
}

// runFor lets a daemon run for a while of simulated time.
func runFor(t *testing.T, dm *loop.Loop, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); dm.Run(ctx) }()
	time.Sleep(d)
	cancel()
	<-ended
}

func TestAWaitingLoopSendsHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		censuses := 0
		deps, p, limits := withHeartbeats(w)
		observe := deps.Observe
		deps.Observe = func(ctx context.Context) ([]policy.Observation, error) {
			censuses++
			return observe(ctx)
		}
		runFor(t, loop.New(deps, limits, nil), 10*time.Minute)
		if got := p.longest(0, 10*time.Minute); got > beat {
			t.Errorf("silent for %s, want %s at the most", got, beat)
		}
		if censuses > 11 {
			t.Errorf("%d looks in 10 minutes: a beat is no turn", censuses)
		}
	})
}

func TestEachTurnSendsAHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deps, p, limits := withHeartbeats(newWorld(t))
		deps.HeartbeatEvery = 0
		runFor(t, loop.New(deps, limits, nil), 10*time.Minute)
		if got := p.longest(0, 10*time.Minute); got != time.Minute {
			t.Errorf("silent for %s, want %s", got, time.Minute)
		}
	})
}

// TestAHungStepStopsHeartbeats: whatever does not come back, the loop says nothing
// until it does, so that systemd may end it.
func TestAHungStepStopsHeartbeats(t *testing.T) {
	tests := map[string]func(e *loop.Deps, hang func()){
		"a look that does not come back": func(e *loop.Deps, hang func()) {
			observe := e.Observe
			e.Observe = func(ctx context.Context) ([]policy.Observation, error) { hang(); return observe(ctx) }
		},
		"an act that does not come back": func(e *loop.Deps, hang func()) {
			apply := e.Apply
			e.Apply = func(ctx context.Context, id string, act policy.Action) policy.Outcome {
				hang()
				return apply(ctx, id, act)
			}
		},
		"a record that does not come back": func(e *loop.Deps, hang func()) {
			write := e.Record
			e.Record = func(p record.Payload) error { hang(); return write(p) }
		},
	}
	for name, hangIn := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.rate = 200 // half full after four minutes, and then acted upon
				deps, p, limits := withHeartbeats(w)
				var from time.Duration
				hangIn(&deps, func() {
					if from == 0 && time.Since(p.start) >= time.Minute {
						from = time.Since(p.start)
						time.Sleep(hung)
					}
				})
				runFor(t, loop.New(deps, limits, nil), 20*time.Minute)
				if from == 0 {
					t.Fatal("nothing hung")
				}
				if got := p.longest(from, from+hung); got < hung {
					t.Errorf("silent for %s of the %s that the step hung", got, hung)
				}
				if got := p.longest(from+hung, 20*time.Minute); got > beat {
					t.Errorf("silent for %s after the step, want %s at the most", got, beat)
				}
			})
		})
	}
}

func TestAHeartbeatPrecedesTheFirstObservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deps, p, limits := withHeartbeats(newWorld(t))
		deps.HeartbeatEvery = 0
		beatsBefore := -1
		observe := deps.Observe
		deps.Observe = func(ctx context.Context) ([]policy.Observation, error) {
			if beatsBefore < 0 {
				beatsBefore = len(p.beats)
			}
			return observe(ctx)
		}
		runFor(t, loop.New(deps, limits, nil), time.Second)
		if beatsBefore != 1 {
			t.Errorf("%d beats before the first look, want 1", beatsBefore)
		}
	})
}

// TestALongTurnSendsAHeartbeatForEachTable: four tables that all have much to be
// recorded on a slow disk are no hung step.
func TestALongTurnSendsAHeartbeatForEachTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tables, slow = 4, 5 * time.Second
		w := newWorld(t)
		w.fixed = 80_000 // elevated: each table opens an incident
		deps, p, limits := withHeartbeats(w)
		limits.Mode = policy.Observe
		var records int
		observe, write := deps.Observe, deps.Record
		deps.Observe = func(ctx context.Context) ([]policy.Observation, error) {
			all, err := observe(ctx)
			for len(all) < tables {
				o := all[0]
				o.Table.NetNS = uint32(len(all))
				all = append(all, o)
			}
			return all, err
		}
		deps.Record = func(p record.Payload) error {
			records++
			time.Sleep(slow)
			return write(p)
		}
		runFor(t, loop.New(deps, limits, nil), time.Second)
		turn := time.Duration(records) * slow
		if got := p.longest(0, turn); records < tables || got > turn/2 {
			t.Errorf("silent for %s in a turn of %s with %d tables", got, turn, tables)
		}
	})
}
