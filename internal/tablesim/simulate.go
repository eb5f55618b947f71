package tablesim

import (
	"time"

	"github.com/ctwarden/ctwarden/policy"
)

// An Iteration is one observation, what was decided, and what came of it.
type Iteration struct {
	// At is the time since the scenario began.
	At time.Duration
	// Host is as it is after the iteration. It may be read, not moved.
	Host *Host
	// State is the one before the plan, Next the one afterwards. The
	// observation and the assessment are in the plan.
	State    *policy.State
	Plan     *policy.Plan
	Outcomes []policy.Outcome
	Next     *policy.State
	// Events are those that happened since the iteration before.
	Events []*Event
}

// Simulate plays a scenario under these limits as the daemon would: observe, decide,
// act, update the state, wait. It calls visit after each iteration and ends with
// the scenario, or when visit returns false. The next iteration overwrites what
// the Iteration points to.
func Simulate(s *Scenario, l *policy.Limits, visit func(*Iteration) bool) {
	c := newSchedule(s)
	simulate(c, l, visit)
}

func simulate(c *schedule, l *policy.Limits, visit func(*Iteration) bool) {
	h := c.host
	var state, next policy.State
	var held policy.Hold
	turn := Iteration{Host: h, State: &state, Next: &next}
	told := c.onEvent
	c.onEvent = func(text string, e *Event) {
		told(text, e)
		if e == nil {
			return
		}
		turn.Events = append(turn.Events, e)
		switch e.Type {
		case Reboot:
			// Another boot voids what was remembered.
			state = policy.State{}
		case Pause:
			state.Pause(h.Now(), e.Span)
		case Resume:
			state.Resume()
		}
	}
	c.runDue()
	for h.clock < c.scenario.Run {
		if policy.CensusDue(state.Level, held, h.census.at, h.Now()) {
			h.Census(l)
		}
		o := h.Observe()
		a := l.Assess(&state, &o)
		plan := l.Decide(&state, &a)
		turn.At, turn.Plan, turn.Outcomes = h.clock, &plan, turn.Outcomes[:0]
		for _, act := range plan.Actions {
			turn.Outcomes = append(turn.Outcomes, h.Apply(act))
		}
		next = state.Next(l, &plan, turn.Outcomes)
		if !visit(&turn) {
			return
		}
		state, held, turn.Events = next, plan.Held, turn.Events[:0]
		c.advance(max(l.Interval(&a), minStep))
	}
}
