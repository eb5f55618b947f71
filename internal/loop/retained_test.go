package loop_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// TestTheStateOfAReturningNamespaceIsRestored: it dropped out of sight, which a
// single reading that fails does.
func TestTheStateOfAReturningNamespaceIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0, 7)
		own := policy.State{SafetyPauseUntil: h.now().Add(time.Hour), SafetyPause: time.Hour}
		own.CountAct(h.now())
		own.Timeouts[conntrack.UDP] = policy.Knob{Original: 180, Written: 30}
		kept := map[uint32]loop.Snapshot{7: {State: own}}
		saved := map[uint32]loop.Snapshot{}
		deps := h.deps()
		deps.Save = func(k map[uint32]loop.Snapshot) error { saved = k; return nil }
		h.runWith(t, deps, policy.Defaults(), nil, kept, func(d *loop.Loop) {
			time.Sleep(3 * time.Second)
			h.set(func() { h.order = []uint32{0} })
			time.Sleep(3 * time.Second)
			if err := d.Pause(t.Context(), record.Requester{For: time.Minute}); err != nil { // which saves
				t.Error(err)
			}
			if diff := cmp.Diff(own.SafetyPauseUntil, saved[7].State.SafetyPauseUntil); diff != "" {
				t.Errorf("saved for netns 7 (-want +got):\n%s", diff)
			}
			h.set(func() { h.order, h.fill[7] = []uint32{0, 7}, 97_000 })
			time.Sleep(3 * time.Second)
			if s := d.Status().Tables[1].State; s.PausedUntil == 0 {
				t.Error("it was not paused with the others")
			}
			time.Sleep(2 * time.Minute)
			if s := d.Status().Tables[1].State; s.Timeouts[conntrack.UDP] != own.Timeouts[conntrack.UDP] {
				t.Errorf("the value to be given back is forgotten: %+v", s.Timeouts[conntrack.UDP])
			}
			if held := d.Status().Tables[1].Held; held != policy.HeldBreaker {
				t.Errorf("held %q, want %q", held, policy.HeldBreaker)
			}
			h.set(func() { h.order = []uint32{0} })
			time.Sleep(3 * time.Second)
			if err := d.Resume(t.Context(), record.Requester{}); err != nil {
				t.Error(err)
			}
			if err := d.Between(t.Context(), func() func(*policy.State, uint32) { return nil }); err != nil {
				t.Error(err)
			}
			h.set(func() { h.order, h.fill[7] = []uint32{0, 7}, 1_000 })
			time.Sleep(3 * time.Second)
			if s := d.Status().Tables[1].State; s.SafetyPauseUntil != 0 || s.Timeouts[conntrack.UDP].Written != 0 {
				t.Errorf("resumed and reverted out of sight, it has %+v", s)
			}
		})
	})
}

// TestAnIncidentClosedWithItsNamespaceIsNotSaved: a start would end it again.
func TestAnIncidentClosedWithItsNamespaceIsNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0)
		var saved map[uint32]loop.Snapshot
		deps := h.deps()
		deps.Save = func(k map[uint32]loop.Snapshot) error { saved = k; return nil }
		kept := map[uint32]loop.Snapshot{7: {State: policy.State{Level: policy.High}, Incident: "INC-1"}}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		loop.New(deps, policy.Defaults(), kept).Run(ctx)
		if n := h.count(record.KindIncidentClose, "INC-1"); n != 1 {
			t.Errorf("ended %d times, want once", n)
		}
		if saved == nil || saved[7].Incident != "" {
			t.Errorf("kept for the next start: %+v", saved)
		}
	})
}

// TestUnloadingTheModuleDropsRetainedClaims: the next load begins with the kernel's
// own values.
func TestUnloadingTheModuleDropsRetainedClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0)
		var state policy.State
		state.Timeouts[conntrack.UDP] = policy.Knob{Original: 180, Written: 30}
		deps := h.deps()
		observe, absent := deps.Observe, true
		deps.Observe = func(ctx context.Context) ([]policy.Observation, error) {
			all, err := observe(ctx)
			h.set(func() { all[0].Absent = absent })
			return all, err
		}
		h.runWith(t, deps, policy.Defaults(), nil, map[uint32]loop.Snapshot{7: {State: state}}, func(d *loop.Loop) {
			time.Sleep(3 * time.Second)
			h.set(func() { h.order, absent = []uint32{0, 7}, false })
			time.Sleep(3 * time.Second)
			if knob := d.Status().Tables[1].State.Timeouts[conntrack.UDP]; knob.Written != 0 {
				t.Errorf("claims %+v of a module that is gone", knob)
			}
		})
	})
}

// TestRetainedStatesAreBounded: namespaces come and go without end.
func TestRetainedStatesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0)
		kept := map[uint32]loop.Snapshot{}
		for i := range uint32(1000) {
			kept[10+i] = loop.Snapshot{State: policy.State{SafetyPauseUntil: h.now().Add(time.Hour)}}
		}
		var saved map[uint32]loop.Snapshot
		deps := h.deps()
		deps.Save = func(k map[uint32]loop.Snapshot) error { saved = k; return nil }
		h.runWith(t, deps, policy.Defaults(), nil, kept, func(d *loop.Loop) {
			time.Sleep(3 * time.Second)
			if err := d.Resume(t.Context(), record.Requester{}); err != nil {
				t.Error(err)
			}
		})
		if len(saved) < 2 || len(saved) > 100 {
			t.Errorf("%d namespaces are remembered", len(saved))
		}
	})
}

// TestARestoredOriginalIsNotAnOverride: a namespace that is new may have the
// number of one that is gone, and the kernel's own values.
func TestARestoredOriginalIsNotAnOverride(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0, 7)
		var state policy.State
		state.Timeouts[conntrack.UDP] = policy.Knob{Original: 30, Written: 20}
		deps := h.deps()
		observe, udp := deps.Observe, uint32(20)
		deps.Observe = func(ctx context.Context) ([]policy.Observation, error) {
			all, err := observe(ctx)
			h.set(func() { all[len(all)-1].Timeouts[conntrack.UDP] = udp })
			return all, err
		}
		h.runWith(t, deps, policy.Defaults(), nil, map[uint32]loop.Snapshot{7: {State: state}}, func(d *loop.Loop) {
			time.Sleep(3 * time.Second)
			h.set(func() { h.order = []uint32{0} })
			time.Sleep(3 * time.Second)
			h.set(func() { h.order, udp = []uint32{0, 7}, 30 })
			time.Sleep(3 * time.Second)
			if n := h.count(record.KindOverride, ""); n != 0 {
				t.Errorf("%d overrides are reported of", n)
			}
			if knob := d.Status().Tables[1].State.Timeouts[conntrack.UDP]; knob != (policy.Knob{}) {
				t.Errorf("the new namespace begins with %+v", knob)
			}
		})
	})
}
