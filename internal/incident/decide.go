package incident

import (
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

func (g *Grouper) looked(i *Incident, e Event, c *record.Census) {
	if g.Depth != Whole {
		return
	}
	look := &Look{Time: e.Time, Summary: c.Summary}
	if top := c.Top; top.Sources != nil || top.Networks != nil || top.Destinations != nil || top.Ports != nil {
		top.Sources = top.Sources[:min(len(top.Sources), mostTop)]
		top.Networks = top.Networks[:min(len(top.Networks), mostTop)]
		top.Destinations = top.Destinations[:min(len(top.Destinations), mostTop)]
		top.Ports = top.Ports[:min(len(top.Ports), mostTop)]
		top.Zones = nil
		look.Top = &top
	}
	if i.Before == nil {
		i.Before = look
	} else {
		i.After = look
	}
}

// observed takes in what a plan was decided on.
func (g *Grouper) observed(i *Incident, e Event, d *record.Decision) {
	o := &d.Observation
	if g.Depth == Outline || o.Now == 0 {
		return
	}
	i.moment(o.Now)
	t := &o.Table
	g.told(i, Point{Time: e.Time, At: o.Now, Entries: t.Entries, Max: t.Max, Buckets: t.Buckets, Level: d.Level}, &t.Counters)
	if g.Depth == Whole && !i.Scene.known() {
		i.Scene = Scene{Timeouts: o.Timeouts, Memory: o.Memory, Host: o.Host, Budget: d.Budget, Kernel: o.Kernel}
	}
}

func (g *Grouper) planned(e Event, p *record.Decision) {
	i := g.about(p.Incident, p.NetNS, &e)
	if i == nil {
		return
	}
	i.Level = max(i.Level, p.Level)
	i.named(p.Cause)
	g.observed(i, e, p)
	d := Decision{
		Seq: e.Seq, Time: e.Time, At: p.Observation.Now, Level: p.Level, Cause: p.Cause, Hold: p.Held, Text: p.Text, Kind: Held,
	}
	switch e.Kind {
	case record.KindBreaker:
		i.Tally.Breakers++
		d.Kind = Tripped
		g.tell(i, d)
	case record.KindHold:
		i.Tally.Holds++
		g.tell(i, d)
	default:
		d.Kind = Acted
		for n := range p.Actions {
			d.Action = &p.Actions[n]
			d.Text = d.Action.Sentence()
			g.tell(i, d)
		}
	}
}

// outcome takes in what the kernel said to an action. Outside of any incident
// that is the giving back of a value, or the hash made larger in calm.
func (g *Grouper) outcome(e Event, p *record.Outcome) {
	out := p.Outcome
	if p.Incident == "" {
		g.knobs.wrote(&out, nil, e.Time)
		return
	}
	i := g.about(p.Incident, 0, &e)
	if i == nil {
		return
	}
	switch act := &out.Action; {
	case act.Would:
		i.Tally.Would++
	case !out.OK:
		i.Tally.Failed++
	default:
		i.Tally.Done++
		if act.Type.Restores() {
			i.Tally.Back++
		}
	}
	g.knobs.wrote(&out, i, e.Time)
	if g.Depth != Whole {
		return
	}
	i.Sacrificed.add(&out)
	if d := i.awaiting(&out.Action); d != nil {
		d.Outcome = &out
		return
	}
	i.decided(Decision{Seq: e.Seq, Time: e.Time, Kind: Acted, Action: &out.Action, Outcome: &out, Text: out.Action.Sentence()})
}

// awaiting finds the decision whose outcome this is.
func (i *Incident) awaiting(act *policy.Action) *Decision {
	for n := len(i.Decisions) - 1; n >= 0 && n >= len(i.Decisions)-64; n-- {
		d := &i.Decisions[n]
		if d.Action != nil && d.Outcome == nil && d.Action.Type == act.Type && d.Action.Knob == act.Knob {
			return d
		}
	}
	return nil
}

// add counts what an act on entries took.
func (s *Sacrificed) add(out *policy.Outcome) {
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
	room := mostSamples - len(s.Samples)
	s.Samples = append(s.Samples, out.Entries.Samples[:min(room, len(out.Entries.Samples))]...)
}

func (g *Grouper) judged(i *Incident, e Event, p *record.Verdict) {
	switch p.Result {
	case policy.Helped:
		i.Tally.Helped++
	case policy.NoEffect:
		i.Tally.NoEffect++
	case policy.Worse:
		i.Tally.Worse++
	case policy.Inconclusive:
		i.Tally.Inconclusive++
	}
	v := p.Verdict
	after, counters := figures(&v.After, policy.Calm)
	after.Time = e.Time
	g.told(i, after, &counters)
	for n := range i.Decisions {
		if d := &i.Decisions[n]; d.Action != nil && d.Action.Type == v.Type && d.At == v.ActedAt {
			d.Verdict = &v
		}
	}
}
