package policy

import "encoding/json"

// A Plan is a decision: either it has Actions, or Held is why it has none.
type Plan struct {
	Assessment Assessment `json:"-"`
	// Actions are of one kind, at most one for each knob.
	Actions []Action `json:"actions,omitempty"`
	Held    Hold     `json:"held,omitempty"`
	// Steps are those tried against the cause, each with why it was not
	// taken.
	Steps Steps `json:"ladder,omitzero"`
	// Verdicts judge earlier acts, Overrides are values that another
	// program changed. A plan has both whether it acts or not.
	Verdicts  []Verdict  `json:"verdicts,omitempty"`
	Overrides []Override `json:"overrides,omitempty"`
	// Trips is true when the breaker opens with this plan.
	Trips bool `json:"trips,omitempty"`
}

// Acts reports whether the plan acts.
func (p *Plan) Acts() bool { return len(p.Actions) > 0 }

// A Step is one remedy for a cause, and why it was not taken.
type Step struct {
	Type  ActionType `json:"type"`
	Class Class      `json:"class,omitzero"`
	Held  Hold       `json:"held,omitempty"`
}

// Steps are the steps that were tried, in order; unused places have NoAction.
type Steps [4]Step

// MarshalJSON writes the steps that were tried.
func (l Steps) MarshalJSON() ([]byte, error) {
	n := 0
	for n < len(l) && l[n].Type != NoAction {
		n++
	}
	return json.Marshal(l[:n])
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (l *Steps) UnmarshalJSON(text []byte) error {
	var steps []Step
	if err := json.Unmarshal(text, &steps); err != nil {
		return err
	}
	*l = Steps{}
	copy(l[:], steps)
	return nil
}

// Decide plans what to do about an assessment. It changes nothing.
func (l *Limits) Decide(s *State, a *Assessment) Plan {
	p := Plan{Assessment: *a}
	p.Held = l.globalHold(s, a)
	if p.Held != NotHeld {
		return p
	}
	p.Verdicts = l.verdicts(s, a)
	p.Overrides = l.overrides(s, a)
	if len(p.Overrides) > 0 {
		// A value that another program just wrote comes first: this plan
		// puts nothing on top of it.
		p.Held = HeldYielded
		return p
	}
	if a.Level == Calm {
		l.decideCalm(s, a, &p)
	} else {
		l.chooseStep(s, a, &p)
	}
	l.breaker(s, a, &p)
	if !p.Acts() {
		return p
	}
	for i := range p.Actions {
		act := &p.Actions[i]
		act.NetNS = a.Observation.Table.NetNS
		if act.Type.HostWide() {
			act.NetNS = 0
		}
		act.Would = l.Mode != Enforce || l.NoHostWide && act.Type.HostWide()
	}
	return p
}

// globalHold returns why nothing at all may be decided.
func (l *Limits) globalHold(s *State, a *Assessment) Hold {
	o := &a.Observation
	switch {
	case l.Mode == Off:
		return HeldOff
	case o.Now < s.PausedUntil:
		return HeldPaused
	case o.Absent:
		return HeldNoTable
	case o.Table.Max == 0:
		return HeldUnlimited
	}
	return NotHeld
}

// decideCalm does what only a calm table permits: give back, and make room in
// the hash for a max that may have to be raised.
func (l *Limits) decideCalm(s *State, a *Assessment, p *Plan) {
	if a.Cause == LongChains {
		if !p.try(l.resize(s, a)) && p.Held == HeldDone {
			p.Held = HeldLongChains
		}
		return
	}
	// Trouble that is not the table's does not keep what was taken, unless it
	// is that the kernel has no memory for more entries.
	hold := causeHold(a.Cause)
	if hold != HeldNoMemory && (p.try(l.restore(s, a)) || p.Held == HeldWouldRefill) {
		return
	}
	if hold != NotHeld {
		p.Held = hold
		return
	}
	if !p.try(l.resize(s, a)) {
		p.Held = HeldCalm
	}
}

// try takes the actions of a step, or the hold. It reports whether the plan
// acts now.
func (p *Plan) try(actions []Action, hold Hold) bool {
	p.Actions, p.Held = actions, hold
	return p.Acts()
}

// causeHold returns the hold for a cause outside of the table: no change to the
// table would help.
func causeHold(c Cause) Hold {
	switch c {
	case InsertFailed:
		return HeldInsertFailed
	case NoMemory:
		return HeldNoMemory
	case Elsewhere:
		return HeldElsewhere
	}
	return NotHeld
}
