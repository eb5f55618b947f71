package incident

import (
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// apply takes one record in.
func (g *Grouper) apply(e Event, p record.Payload) {
	switch p := p.(type) {
	case *record.Samples:
		g.addSamples(e, p)
	case *record.Start:
		g.addStart(e, p)
	case *record.Config:
		if g.limits == nil || g.digest != p.Digest {
			limits := p.Limits
			g.limits, g.digest = &limits, p.Digest
		}
	case *record.Pause:
		g.addRequest(e, p.Text)
	case *record.Resume:
		g.addRequest(e, p.Text)
	case *record.Revert:
		g.addRequest(e, p.Text)
	case *record.Outcome:
		g.addOutcome(e, p)
	case *record.IncidentOpen:
		g.addEdge(e, &p.Edge)
	case *record.IncidentClose:
		g.addEdge(e, &p.Edge)
	case *record.Plan:
		g.addPlan(e, &p.Decision)
	case *record.Hold:
		g.addPlan(e, &p.Decision)
	case *record.Breaker:
		g.addPlan(e, &p.Decision)
	default:
		g.applyToIncident(e, p)
	}
}

// applyToIncident takes a record that only adds to an incident.
func (g *Grouper) applyToIncident(e Event, p record.Payload) {
	switch p := p.(type) {
	case *record.Level:
		if i := g.noteIncidentOf(p.Incident, p.NetNS, &e); i != nil {
			i.Level = max(i.Level, p.Level)
			g.addDecision(i, Decision{Seq: e.Seq, Time: e.Time, Kind: LevelChanged, Level: p.Level, Text: p.Text})
		}
	case *record.Signal:
		if i := g.noteIncidentOf(p.Incident, p.NetNS, &e); i != nil {
			i.KernelLines += max(p.Count, 1)
			g.addDecision(i, Decision{Seq: e.Seq, Time: e.Time, Kind: KernelLine, Text: p.Text})
		}
	case *record.Census:
		if i := g.noteIncidentOf(p.Incident, p.NetNS, &e); i != nil {
			g.addCensus(i, e, p)
		}
	case *record.Verdict:
		if i := g.noteIncidentOf(p.Incident, p.NetNS, &e); i != nil {
			g.addVerdict(i, e, p)
		}
	case *record.Override:
		if i := g.noteIncidentOf("", p.NetNS, &e); i != nil {
			g.changes.release(p.NetNS, &p.Override)
			i.Counts.Overrides++
			g.addDecision(i, Decision{Seq: e.Seq, Time: e.Time, Kind: Overridden, Text: p.Text})
		}
	case *record.Other:
		g.noteIncidentOf(record.Incident(p.JSON), 0, &e)
	}
}

// addDecision adds a decision to an incident that is kept whole.
func (g *Grouper) addDecision(i *Incident, d Decision) *Decision {
	if g.Depth != Whole {
		return nil
	}
	return i.appendDecision(d)
}

// addEdge begins or ends an incident.
func (g *Grouper) addEdge(e Event, edge *record.Edge) {
	i := g.noteIncidentOf(edge.Incident, edge.NetNS, &e)
	if i == nil {
		return
	}
	i.noteBootTime(edge.Moment)
	p := Point{Time: e.Time, At: edge.Moment, Entries: edge.Entries, Max: edge.Max, Level: i.Level}
	if e.Kind == record.KindIncidentOpen {
		i.Partial = false
		g.addReading(i, p, nil)
		return
	}
	p.Level = policy.Calm
	g.addReading(i, p, nil)
	i.Status = Closed
}

func (g *Grouper) addSamples(e Event, s *record.Samples) {
	i := g.incidentOf(s.Incident, s.NetNS, &e)
	if i == nil || g.Depth != Outline && len(s.Rows) == 0 {
		return
	}
	i.noteRecord(&e)
	if i.compacted {
		return
	}
	i.fromSamples.limit = g.openPoints()
	for n := range s.Rows {
		p, counters := samplePoint(s, n)
		i.Level = max(i.Level, p.Level)
		i.fromSamples.add(p, &counters)
	}
}

// addReading adds to the course by what else was recorded.
func (g *Grouper) addReading(i *Incident, p Point, c *conntrack.Counters) {
	if g.Depth != Outline && !i.compacted {
		i.fromRecords.limit = g.openPoints()
		i.fromRecords.add(p, c)
	}
}

// maxPoints is how many points of a curve there are at most in the end.
func (g *Grouper) maxPoints() int {
	if g.Depth == Whole {
		return curvePoints
	}
	return sparkPoints
}

// openPoints is how many points are kept while more may come: those of a short curve
// are joined less unevenly if they are joined once more in the end.
func (g *Grouper) openPoints() int {
	if g.Depth == Whole {
		return curvePoints
	}
	return 2 * sparkPoints
}

// addStart takes the start of a daemon in: a restart in the same boot changes
// nothing but its counters, another boot ends everything.
func (g *Grouper) addStart(e Event, s *record.Start) {
	another := g.daemon.Boot != "" && s.Boot != g.daemon.Boot
	g.daemon = *s
	for _, i := range g.open {
		i.fromSamples.restart()
		i.fromRecords.restart()
		switch {
		case i.Status != Open:
		case another || i.boot != "" && i.boot != s.Boot:
			i.Status = Interrupted
		default:
			i.Counts.Restarts++
			i.noteRecord(&e)
			g.addDecision(i, Decision{Seq: e.Seq, Time: e.Time, Kind: Restarted, Text: "ctwarden was started again"})
		}
	}
	if another {
		clear(g.changes)
	}
}

// addRequest adds a person's request to every open incident.
func (g *Grouper) addRequest(e Event, text string) {
	for _, i := range g.open {
		if i.Status == Open {
			i.noteRecord(&e)
			g.addDecision(i, Decision{Seq: e.Seq, Time: e.Time, Kind: Requested, Text: text})
		}
	}
}
