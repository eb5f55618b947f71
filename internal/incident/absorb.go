package incident

import (
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// absorb takes one record in.
func (g *Grouper) absorb(e Event, p record.Payload) {
	switch p := p.(type) {
	case *record.Samples:
		g.sampled(e, p)
	case *record.Start:
		g.started(e, p)
	case *record.Config:
		if g.limits == nil || g.digest != p.Digest {
			limits := p.Limits
			g.limits, g.digest = &limits, p.Digest
		}
	case *record.Pause:
		g.person(e, p.Text)
	case *record.Resume:
		g.person(e, p.Text)
	case *record.Revert:
		g.person(e, p.Text)
	case *record.Outcome:
		g.outcome(e, p)
	case *record.IncidentOpen:
		g.bounded(e, &p.Edge)
	case *record.IncidentClose:
		g.bounded(e, &p.Edge)
	case *record.Plan:
		g.planned(e, &p.Decision)
	case *record.Hold:
		g.planned(e, &p.Decision)
	case *record.Breaker:
		g.planned(e, &p.Decision)
	default:
		g.grow(e, p)
	}
}

// grow takes a record that only adds to an incident.
func (g *Grouper) grow(e Event, p record.Payload) {
	switch p := p.(type) {
	case *record.Level:
		if i := g.about(p.Incident, p.NetNS, &e); i != nil {
			i.Level = max(i.Level, p.Level)
			g.tell(i, Decision{Seq: e.Seq, Time: e.Time, Kind: Rose, Level: p.Level, Text: p.Text})
		}
	case *record.Signal:
		if i := g.about(p.Incident, p.NetNS, &e); i != nil {
			i.Lines += max(p.Count, 1)
			g.tell(i, Decision{Seq: e.Seq, Time: e.Time, Kind: Heard, Text: p.Text})
		}
	case *record.Census:
		if i := g.about(p.Incident, p.NetNS, &e); i != nil {
			g.looked(i, e, p)
		}
	case *record.Verdict:
		if i := g.about(p.Incident, p.NetNS, &e); i != nil {
			g.judged(i, e, p)
		}
	case *record.Override:
		if i := g.about("", p.NetNS, &e); i != nil {
			g.knobs.lost(p.NetNS, &p.Override)
			i.Tally.Overrides++
			g.tell(i, Decision{Seq: e.Seq, Time: e.Time, Kind: Overruled, Text: p.Text})
		}
	case *record.Other:
		g.about(record.Incident(p.JSON), 0, &e)
	}
}

// tell adds a decision to an incident that is kept whole.
func (g *Grouper) tell(i *Incident, d Decision) *Decision {
	if g.Depth != Whole {
		return nil
	}
	return i.decided(d)
}

// bounded begins or ends an incident.
func (g *Grouper) bounded(e Event, edge *record.Edge) {
	i := g.about(edge.Incident, edge.NetNS, &e)
	if i == nil {
		return
	}
	i.moment(edge.Moment)
	p := Point{Time: e.Time, At: edge.Moment, Entries: edge.Entries, Max: edge.Max, Level: i.Level}
	if e.Kind == record.KindIncidentOpen {
		i.Partial = false
		g.told(i, p, nil)
		return
	}
	p.Level = policy.Calm
	g.told(i, p, nil)
	i.Status = Closed
}

func (g *Grouper) sampled(e Event, s *record.Samples) {
	i := g.belongs(s.Incident, s.NetNS, &e)
	if i == nil || g.Depth != Outline && len(s.Rows) == 0 {
		return
	}
	i.touch(&e)
	if i.settled {
		return
	}
	i.sampled.most = g.read()
	for n := range s.Rows {
		p, counters := point(s, n)
		i.Level = max(i.Level, p.Level)
		i.sampled.add(p, &counters)
	}
}

// told adds to the course by what else was recorded.
func (g *Grouper) told(i *Incident, p Point, c *conntrack.Counters) {
	if g.Depth != Outline && !i.settled {
		i.told.most = g.read()
		i.told.add(p, c)
	}
}

// points is how many points of a curve there are at most in the end.
func (g *Grouper) points() int {
	if g.Depth == Whole {
		return curvePoints
	}
	return sparkPoints
}

// read is how many points are kept while more may come: those of a short curve
// are joined less unevenly if they are joined once more in the end.
func (g *Grouper) read() int {
	if g.Depth == Whole {
		return curvePoints
	}
	return 2 * sparkPoints
}

// started takes the start of a daemon in: a restart in the same boot changes
// nothing but its counters, another boot ends everything.
func (g *Grouper) started(e Event, s *record.Start) {
	another := g.daemon.Boot != "" && s.Boot != g.daemon.Boot
	g.daemon = *s
	for _, i := range g.open {
		i.sampled.restart()
		i.told.restart()
		switch {
		case i.Status != Open:
		case another || i.boot != "" && i.boot != s.Boot:
			i.Status = Interrupted
		default:
			i.Tally.Restarts++
			i.touch(&e)
			g.tell(i, Decision{Seq: e.Seq, Time: e.Time, Kind: Restarted, Text: "ctwarden was started again"})
		}
	}
	if another {
		clear(g.knobs)
	}
}

// person tells every open incident what a person asked for.
func (g *Grouper) person(e Event, text string) {
	for _, i := range g.open {
		if i.Status == Open {
			i.touch(&e)
			g.tell(i, Decision{Seq: e.Seq, Time: e.Time, Kind: Person, Text: text})
		}
	}
}
