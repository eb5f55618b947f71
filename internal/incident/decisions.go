package incident

import (
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

func (g *Grouper) addCensus(i *Incident, e Event, c *record.Census) {
	if g.Depth != Whole {
		return
	}
	look := &Census{Time: e.Time, Summary: c.Summary}
	if top := c.Top; top.Sources != nil || top.Networks != nil || top.Destinations != nil || top.Ports != nil {
		top.Sources = top.Sources[:min(len(top.Sources), maxTop)]
		top.Networks = top.Networks[:min(len(top.Networks), maxTop)]
		top.Destinations = top.Destinations[:min(len(top.Destinations), maxTop)]
		top.Ports = top.Ports[:min(len(top.Ports), maxTop)]
		top.Zones = nil
		look.Top = &top
	}
	if i.Before == nil {
		i.Before = look
	} else {
		i.After = look
	}
}

// addObservation takes in what a plan was decided on.
func (g *Grouper) addObservation(i *Incident, e Event, d *record.Decision) {
	o := &d.Observation
	if g.Depth == Outline || o.Now == 0 {
		return
	}
	i.noteBootTime(o.Now)
	t := &o.Table
	g.addReading(i, Point{Time: e.Time, At: o.Now, Entries: t.Entries, Max: t.Max, Buckets: t.Buckets, Level: d.Level}, &t.Counters)
	if g.Depth == Whole && !i.HostContext.isSet() {
		i.HostContext = HostContext{Timeouts: o.Timeouts, Memory: o.Memory, Host: o.Host, Budget: d.Budget, Kernel: o.Kernel}
	}
}

func (g *Grouper) addPlan(e Event, p *record.Decision) {
	i := g.noteIncidentOf(p.Incident, p.NetNS, &e)
	if i == nil {
		return
	}
	i.Level = max(i.Level, p.Level)
	i.noteCause(p.Cause)
	g.addObservation(i, e, p)
	d := Decision{
		Seq: e.Seq, Time: e.Time, At: p.Observation.Now, Level: p.Level, Cause: p.Cause, Hold: p.Held, Text: p.Text, Kind: Held,
	}
	switch e.Kind {
	case record.KindBreaker:
		i.Counts.Breakers++
		d.Kind = BreakerOpened
		g.addDecision(i, d)
	case record.KindHold:
		i.Counts.Holds++
		g.addDecision(i, d)
	default:
		d.Kind = Acted
		for n := range p.Actions {
			d.Action = &p.Actions[n]
			d.Text = d.Action.Sentence()
			g.addDecision(i, d)
		}
	}
}

// addOutcome adds the kernel's result of an action. Outside of any incident the
// action restored a value, or made the hash larger in calm.
func (g *Grouper) addOutcome(e Event, p *record.Outcome) {
	out := p.Outcome
	if p.Incident == "" {
		g.changes.addOutcome(&out, nil, e.Time)
		return
	}
	i := g.noteIncidentOf(p.Incident, 0, &e)
	if i == nil {
		return
	}
	switch act := &out.Action; {
	case act.Would:
		i.Counts.Would++
	case !out.OK:
		i.Counts.Failed++
	default:
		i.Counts.Done++
		if act.Type.Restores() {
			i.Counts.Restored++
		}
	}
	g.changes.addOutcome(&out, i, e.Time)
	if g.Depth != Whole {
		return
	}
	i.Cost.add(&out)
	if d := i.decisionFor(&out.Action); d != nil {
		d.Outcome = &out
		return
	}
	i.appendDecision(Decision{Seq: e.Seq, Time: e.Time, Kind: Acted, Action: &out.Action, Outcome: &out, Text: out.Action.Sentence()})
}

// decisionFor finds the decision whose outcome this is.
func (i *Incident) decisionFor(act *policy.Action) *Decision {
	for n := len(i.Decisions) - 1; n >= 0 && n >= len(i.Decisions)-64; n-- {
		d := &i.Decisions[n]
		if d.Action != nil && d.Outcome == nil && d.Action.Type == act.Type && d.Action.Knob == act.Knob {
			return d
		}
	}
	return nil
}

// add counts what an act on entries took.
func (s *Cost) add(out *policy.Outcome) {
	if out.Changed > 0 && !out.Action.Would {
		counts := &s.Aged
		if out.Action.Type == policy.DeleteEntries {
			counts = &s.Deleted
		}
		if *counts == nil {
			*counts = map[policy.Class]uint64{}
		}
		(*counts)[out.Action.Class] += out.Changed
	}
	if out.Entries == nil {
		return
	}
	for eligibility, n := range out.Entries.Eligibility {
		if policy.Eligibility(eligibility) != policy.Eligible {
			s.Spared[eligibility] += n
		}
	}
	room := maxSamples - len(s.Samples)
	s.Samples = append(s.Samples, out.Entries.Samples[:min(room, len(out.Entries.Samples))]...)
}

func (g *Grouper) addVerdict(i *Incident, e Event, p *record.Verdict) {
	switch p.Result {
	case policy.Helped:
		i.Counts.Helped++
	case policy.NoEffect:
		i.Counts.NoEffect++
	case policy.Worse:
		i.Counts.Worse++
	case policy.Inconclusive:
		i.Counts.Inconclusive++
	}
	v := p.Verdict
	after, counters := readingPoint(&v.After, policy.Calm)
	after.Time = e.Time
	g.addReading(i, after, &counters)
	for n := range i.Decisions {
		if d := &i.Decisions[n]; d.Action != nil && d.Action.Type == v.Type && d.At == v.ActedAt {
			d.Verdict = &v
		}
	}
}
