package policy

import "github.com/ctwarden/ctwarden/internal/conntrack"

// Next returns the state after a plan was carried out with these outcomes, or
// only recorded. The receiver is not changed.
func (s *State) Next(l *Limits, p *Plan, outcomes []Outcome) State {
	n := *s
	a := &p.Assessment
	now := a.Observation.Now
	if now < n.Trend.At {
		n.shiftTimes(n.Trend.At, now)
	}
	n.Trend = a.Trend
	if n.Since == 0 || a.Observation.Absent {
		n.Since = now
	}
	if a.Observation.Absent {
		// Written values went with the module; the next load starts from
		// the kernel's own values.
		n.ReleaseClaims()
	}
	n.LowSince = l.lowSince(s, &a.Observation, a)
	n.setLevel(a.Level, now)
	for t := range n.Records {
		if r := &n.Records[t]; r.Waiting && r.Base.At == 0 && now > r.At {
			r.Base = a.readings()
		}
	}
	for i := range p.Verdicts {
		n.recordVerdict(l, &p.Verdicts[i])
	}
	for i := range p.Overrides {
		n.recordOverride(&p.Overrides[i], now)
	}
	if p.Trips {
		l.openBreaker(&n, now)
	}
	if len(outcomes) > 0 && !outcomes[0].Action.Type.Restores() {
		n.CountAct(now)
		n.LastAct = now
	}
	for i := range outcomes {
		n.recordOutcome(l, a, &outcomes[i], i == 0)
	}
	return n
}

// CountAct adds an act to those that the breaker counts. Next does it for the
// acts of a plan; an act on what all tables of a host share counts for each.
func (s *State) CountAct(now BootTime) {
	s.Acts[s.ActsNext%MaxActs] = now
	s.ActsNext = (s.ActsNext + 1) % MaxActs
}

// shiftTimes moves every time so that what was at from is at to: a clock that
// went back, or a state from another boot, must not freeze the policy. A moment
// may come to lie before the boot; only 0 is no moment.
func (s *State) shiftTimes(from, to BootTime) {
	move := func(m *BootTime) {
		if *m == 0 {
			return
		}
		if *m += to - from; *m == 0 {
			*m = 1
		}
	}
	move(&s.Since)
	move(&s.LowSince)
	move(&s.CalmSince)
	move(&s.IncidentSince)
	move(&s.LastAct)
	move(&s.SafetyPauseUntil)
	move(&s.PausedUntil)
	move(&s.LastResize)
	move(&s.LastRestore)
	move(&s.Max.YieldUntil)
	move(&s.Buckets.YieldUntil)
	for i := range s.Timeouts {
		move(&s.Timeouts[i].YieldUntil)
	}
	for i := range s.Acts {
		move(&s.Acts[i])
	}
	for i := range s.Records {
		r := &s.Records[i]
		move(&r.At)
		move(&r.WaitUntil)
		move(&r.Before.At)
		move(&r.Base.At)
	}
}

// setLevel notes a change of level. The records of an incident end with it.
func (s *State) setLevel(level Level, now BootTime) {
	switch {
	case level == Calm && (s.Level != Calm || s.CalmSince == 0):
		s.CalmSince, s.IncidentSince = now, 0
		s.Records = Records{}
	case level != Calm && s.Level == Calm:
		s.CalmSince, s.IncidentSince = 0, now
		s.Records = Records{}
	}
	s.Level = level
}

func (s *State) recordVerdict(l *Limits, v *Verdict) {
	r := &s.Records[v.Type]
	r.Waiting = false
	if v.Result == NoEffect || v.Result == Worse {
		r.strike(l)
	}
}

func (r *Record) strike(l *Limits) {
	r.Failures = min(r.Failures, 254) + 1
	r.Banned = r.Failures >= l.Verify.MaxFailures
}

// recordOutcome notes the outcome of one action. A plan's actions are of one kind:
// only the first makes the record.
func (s *State) recordOutcome(l *Limits, a *Assessment, out *Outcome, first bool) {
	act, now := &out.Action, a.Observation.Now
	r := &s.Records[act.Type]
	if first {
		r.At, r.Acts = now, r.Acts+1
		r.Before, r.Base = a.readings(), Readings{}
		r.To, r.Changed = act.To, out.Changed
		r.Would = act.Would
		r.Waiting = out.OK && !act.Would && !act.Type.Restores()
		r.WaitUntil = now.Add(l.horizon(act.Type))
		if act.Would {
			r.WaitUntil = now.Add(max(l.horizon(act.Type), l.Raise.Headroom))
		}
	}
	switch act.Type {
	case ResizeHash:
		s.LastResize = now
	case RestoreTimeout:
		s.LastRestore = now
	}
	if act.Would {
		return
	}
	if !out.OK {
		if first {
			r.strike(l)
		}
		if out.ChangedExternally {
			s.yieldKnob(l, act, now)
		}
		return
	}
	s.recordWrite(act, out)
}

// recordWrite notes the value that now stands in the kernel.
func (s *State) recordWrite(act *Action, out *Outcome) {
	k := s.knob(act.Type, act.Knob)
	if k == nil {
		return
	}
	if k.Written == 0 {
		k.Original = out.Before
	}
	k.Written = out.After
	if k.Written == k.Original {
		*k = Knob{YieldUntil: k.YieldUntil, YieldPause: k.YieldPause}
	}
}

// yieldKnob leaves a knob to the program that changed it between plan and write.
func (s *State) yieldKnob(l *Limits, act *Action, now BootTime) {
	k := s.knob(act.Type, act.Knob)
	if k == nil {
		return
	}
	pause := l.yield(k, now)
	*k = Knob{YieldPause: pause, YieldUntil: now.Add(pause)}
}

// Owned returns the timeouts that ctwarden has shortened and not yet restored.
func (s *State) Owned() conntrack.Timeouts {
	var owned conntrack.Timeouts
	for t := range s.Timeouts {
		owned[t] = uint32(s.Timeouts[t].Written)
	}
	return owned
}
