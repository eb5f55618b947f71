package loop

import (
	"slices"

	"github.com/ctwarden/ctwarden/policy"
)

// A retained is the state of a table that is not observed any more: its namespace
// may come back after a failed reading or in the next flood. Its breaker then
// still counts, and its shortened timeouts are still to be restored.
type retained struct {
	netns uint32
	state policy.State
}

// maxRetained bounds the retained states; the oldest is dropped first.
const maxRetained = 64

// retain keeps the part of a table's state that its namespace needs when it comes
// back. The incident is closed, and the trend has a gap.
func (l *Loop) retain(t *table) {
	s := &t.state
	if s.Acts == (policy.BootTimes{}) && s.SafetyPause == 0 && s.SafetyPauseUntil == 0 && s.Timeouts == (policy.Knobs{}) {
		return
	}
	if len(l.retained) >= maxRetained {
		l.retained = slices.Delete(l.retained, 0, len(l.retained)-maxRetained+1)
	}
	l.retained = append(l.retained, retained{t.netns, policy.State{
		Acts: s.Acts, ActsNext: s.ActsNext, LastAct: s.LastAct,
		SafetyPauseUntil: s.SafetyPauseUntil, SafetyPause: s.SafetyPause, PausedUntil: s.PausedUntil,
		LastResize: s.LastResize, LastRestore: s.LastRestore,
		Max: s.Max, Buckets: s.Buckets, Timeouts: s.Timeouts,
	}})
}

// takeRetained removes and returns the retained state of a namespace. A new
// namespace may have the number of an old one, and begins with the kernel's own
// values: takeRetained drops the claim on a timeout that has its original value.
func (l *Loop) takeRetained(o *policy.Observation) (policy.State, bool) {
	at := slices.IndexFunc(l.retained, func(g retained) bool { return g.netns == o.Table.NetNS })
	if at < 0 {
		return policy.State{}, false
	}
	state := l.retained[at].state
	l.retained = slices.Delete(l.retained, at, at+1)
	for i := range state.Timeouts {
		if k := &state.Timeouts[i]; k.Written != 0 && k.Original == uint64(o.Timeouts[i]) {
			*k = policy.Knob{}
		}
	}
	return state, true
}

// states calls fn with the state of every table, and with the retained ones:
// what concerns the whole host concerns them when they come back.
func (l *Loop) states(fn func(netns uint32, s *policy.State)) {
	for _, t := range l.tables {
		fn(t.netns, &t.state)
	}
	for i := range l.retained {
		fn(l.retained[i].netns, &l.retained[i].state)
	}
}
