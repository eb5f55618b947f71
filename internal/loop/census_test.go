package loop_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/policy"
)

// runCalmWithLease runs the loop for d of calm, on a table of 40,000 of 100,000 entries
// whose time_wait was shortened to 30 s, and returns how often the table was
// looked into and when the timeout was given back.
func runCalmWithLease(t *testing.T, d time.Duration, look func() (census.Summary, error)) (censuses int, restored []time.Duration) {
	t.Helper()
	w := newWorld(t)
	w.fixed = 40_000
	timeWait := uint32(30)
	deps := w.deps()
	observe := deps.Observe
	deps.Observe = func(ctx context.Context) ([]policy.Observation, error) {
		o, err := observe(ctx)
		o[0].Timeouts[conntrack.TCPTimeWait] = timeWait
		return o, err
	}
	deps.Apply = func(_ context.Context, _ string, act policy.Action) policy.Outcome {
		if act.Type == policy.RestoreTimeout {
			timeWait = uint32(act.To)
			restored = append(restored, time.Since(w.start).Round(time.Second))
		}
		return policy.Outcome{Action: act, OK: true, Before: act.From, After: act.To}
	}
	deps.Census = func(context.Context, policy.Limits, policy.Observation) (loop.CensusResult, error) {
		censuses++
		summary, err := look()
		return loop.CensusResult{Summary: summary}, err
	}
	var state policy.State
	state.Timeouts[conntrack.TCPTimeWait] = policy.Knob{Original: 120, Written: 30}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	loop.New(deps, policy.Defaults(), map[uint32]loop.Snapshot{0: {State: state}}).Run(ctx)
	return censuses, restored
}

// TestACensusInCalmAllowsARestore: as long as a restore is held because every
// entry may live by the timeout, the table is looked into once in ten minutes,
// and then it is known.
func TestACensusInCalmAllowsARestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		censuses, restored := runCalmWithLease(t, time.Hour, func() (census.Summary, error) {
			return census.Summary{Seen: 40_000, Closing: 1_000, Assured: 39_000}, nil
		})
		if censuses != 2 || len(restored) != 2 || restored[1]-restored[0] < 10*time.Minute {
			t.Errorf("%d looks, given back at %v: want two of each, ten minutes apart", censuses, restored)
		}
	})
}

// TestAFailedCensusAllowsNoRestore: an old census is not made new by a look
// that failed.
func TestAFailedCensusAllowsNoRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		censuses, restored := runCalmWithLease(t, time.Hour, func() (census.Summary, error) {
			if calls++; calls > 1 {
				return census.Summary{}, errors.New("no buffer space available")
			}
			return census.Summary{Seen: 40_000, Closing: 1_000, Assured: 39_000}, nil
		})
		if censuses < 4 || censuses > 6 || len(restored) != 1 {
			t.Errorf("%d looks in an hour, given back at %v: want a step back by the first look alone", censuses, restored)
		}
	})
}

// TestRunWaitsForTheCensus: when Run has returned, nothing looks any more into
// what its caller is about to close.
func TestRunWaitsForTheCensus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fixed = 80_000
		deps := w.deps()
		began, ended := 0, 0
		deps.Census = func(ctx context.Context, _ policy.Limits, _ policy.Observation) (loop.CensusResult, error) {
			began++
			<-ctx.Done()
			time.Sleep(time.Second) // the kernel answers late
			ended++
			return loop.CensusResult{}, ctx.Err()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		loop.New(deps, policy.Defaults(), nil).Run(ctx)
		if began != 1 || ended != 1 {
			t.Errorf("%d looks began, %d have ended", began, ended)
		}
	})
}
