package incident

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

func (g *Grouper) looked(i *Incident, e Event) error {
	if g.Depth != Whole {
		return nil
	}
	look := &Look{}
	if err := json.Unmarshal(e.Line, look); err != nil {
		return err
	}
	look.Time = e.Time
	if top := look.Top; top != nil {
		top.Sources = top.Sources[:min(len(top.Sources), mostTop)]
		top.Networks = top.Networks[:min(len(top.Networks), mostTop)]
		top.Destinations = top.Destinations[:min(len(top.Destinations), mostTop)]
		top.Ports = top.Ports[:min(len(top.Ports), mostTop)]
		top.Zones = nil
	}
	if i.Before == nil {
		i.Before = look
	} else {
		i.After = look
	}
	return nil
}

// sketched reports whether the flight recorder tells all that a list needs, but
// for a peak between its readings.
func (g *Grouper) sketched(i *Incident) bool { return g.Depth == Figures && len(i.sampled.points) > 1 }

// glimpse reads of a table what its peak is told by.
func glimpse(table []byte, t *conntrack.Table) error {
	return eachField(table, func(name, value []byte) error {
		switch string(name) {
		case "entries":
			t.Entries = number(value)
		case "max":
			t.Max = number(value)
		case "buckets":
			t.Buckets = number(value)
		}
		return nil
	})
}

// observed takes what a plan was decided on in.
func (g *Grouper) observed(i *Incident, e Event, f *fields) (policy.Moment, error) {
	var o struct {
		Now   policy.Moment   `json:"now"`
		Table conntrack.Table `json:"table"`
	}
	if f.observation == nil || g.Depth == Outline {
		return 0, nil
	}
	sketched := g.sketched(i)
	err := eachField(f.observation, func(name, value []byte) error {
		switch string(name) {
		case "now":
			return o.Now.UnmarshalText([]byte(unquoted(value)))
		case "table":
			if sketched {
				return glimpse(value, &o.Table)
			}
			return json.Unmarshal(value, &o.Table)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("observation: %w", err)
	}
	i.moment(o.Now)
	t := &o.Table
	p := Point{Time: e.Time, At: o.Now, Entries: t.Entries, Max: t.Max, Buckets: t.Buckets, Level: f.Level}
	if sketched {
		g.told(i, p, nil)
		return o.Now, nil
	}
	g.told(i, p, &t.Counters)
	if i.Scene.known() || g.Depth != Whole {
		return o.Now, nil
	}
	if err := json.Unmarshal(f.observation, &i.Scene); err != nil {
		return 0, fmt.Errorf("observation: %w", err)
	}
	if f.budget != nil {
		err = json.Unmarshal(f.budget, &i.Scene.Budget)
	}
	return o.Now, err
}

func (g *Grouper) planned(i *Incident, e Event, f *fields) error {
	i.named(f.Cause)
	now, err := g.observed(i, e, f)
	if err != nil {
		return err
	}
	d := Decision{
		Seq: e.Seq, Time: e.Time, At: now, Level: f.Level, Cause: f.Cause, Hold: f.Held, Text: f.Text, Kind: Held,
	}
	switch e.Kind {
	case "breaker":
		i.Tally.Breakers++
		d.Kind = Tripped
		g.tell(i, d)
		return nil
	case "hold":
		i.Tally.Holds++
		g.tell(i, d)
		return nil
	}
	if g.Depth != Whole {
		return nil
	}
	var actions []policy.Action
	if f.actions != nil {
		if err := json.Unmarshal(f.actions, &actions); err != nil {
			return fmt.Errorf("actions: %w", err)
		}
	}
	d.Kind = Acted
	for n := range actions {
		d.Action = &actions[n]
		d.Text = actions[n].Sentence()
		i.decided(d)
	}
	return nil
}

func (g *Grouper) outcome(i *Incident, e Event, f *fields) error {
	out, err := f.outcome()
	if err == nil && g.Depth == Whole {
		err = json.Unmarshal(e.Line, &out)
	}
	if err != nil {
		return err
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
		return nil
	}
	i.Sacrificed.add(&out)
	if d := i.awaiting(&out.Action); d != nil {
		d.Outcome = &out
		return nil
	}
	i.decided(Decision{Seq: e.Seq, Time: e.Time, Kind: Acted, Action: &out.Action, Outcome: &out, Text: out.Action.Sentence()})
	return nil
}

// outcome returns what an outcome says of a kernel value. Of an act on entries
// it leaves out what became of each.
func (f *fields) outcome() (policy.Outcome, error) {
	out := policy.Outcome{OK: f.OK, Foreign: f.Foreign, Before: f.Before, After: f.After}
	act := &out.Action
	err := eachField(f.action, func(name, value []byte) error {
		switch string(name) {
		case "type":
			return act.Type.UnmarshalText([]byte(unquoted(value)))
		case "knob":
			return act.Knob.UnmarshalText([]byte(unquoted(value)))
		case "netns":
			act.NetNS = uint32(min(number(value), math.MaxUint32))
		case "would":
			act.Would = string(value) == "true"
		}
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("action: %w", err)
	}
	return out, nil
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
	for fate, n := range out.Entries.Fates {
		if policy.Fate(fate) != policy.FateEligible {
			s.Spared[fate] += n
		}
	}
	room := mostSamples - len(s.Samples)
	s.Samples = append(s.Samples, out.Entries.Samples[:min(room, len(out.Entries.Samples))]...)
}

func (g *Grouper) judged(i *Incident, e Event, f *fields) error {
	var result policy.Result
	if err := result.UnmarshalText([]byte(unquoted(f.result))); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	switch result {
	case policy.Helped:
		i.Tally.Helped++
	case policy.NoEffect:
		i.Tally.NoEffect++
	case policy.Worse:
		i.Tally.Worse++
	case policy.Inconclusive:
		i.Tally.Inconclusive++
	}
	switch {
	case g.Depth == Outline:
		return nil
	case g.sketched(i) && f.after != nil:
		return g.figured(i, e, f.after)
	}
	var v policy.Verdict
	if err := json.Unmarshal(e.Line, &v); err != nil {
		return err
	}
	p, counters := figures(&v.After, policy.Calm)
	p.Time = e.Time
	g.told(i, p, &counters)
	for n := range i.Decisions {
		if d := &i.Decisions[n]; d.Action != nil && d.Action.Type == v.Type && d.At == v.ActedAt {
			d.Verdict = &v
		}
	}
	return nil
}

// figured takes from a verdict what a list needs of its reading.
func (g *Grouper) figured(i *Incident, e Event, figures []byte) error {
	p := Point{Time: e.Time}
	err := eachField(figures, func(name, value []byte) error {
		switch string(name) {
		case "at":
			return p.At.UnmarshalText([]byte(unquoted(value)))
		case "entries":
			p.Entries = number(value)
		case "max":
			p.Max = number(value)
		}
		return nil
	})
	if err == nil {
		g.told(i, p, nil)
	}
	return err
}

func (g *Grouper) overruled(i *Incident, e Event, f *fields) error {
	var ov policy.Override
	if err := json.Unmarshal(e.Line, &ov); err != nil {
		return err
	}
	g.knobs.lost(f.NetNS, &ov)
	i.Tally.Overrides++
	g.tell(i, Decision{Seq: e.Seq, Time: e.Time, Kind: Overruled, Text: f.Text})
	return nil
}
