package loop

import (
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// recordChanges records the parts of a plan other than its actions: the level,
// the incident, verdicts, overrides, and a new hold.
func (l *Loop) recordChanges(t *table, p *policy.Plan) {
	a := &p.Assessment
	table := &a.Observation.Table
	level := a.Level
	if level != t.level && t.level == policy.Calm {
		t.incident = l.incidentName(t)
		l.record(&record.IncidentOpen{Edge: l.incidentEdge(t, &a.Observation, "")})
	}
	if level != t.level {
		l.record(&record.Level{
			Incident: t.incident, NetNS: t.netns, From: t.level, Level: level,
			Entries: table.Entries, Max: table.Max, Text: a.Sentence(),
		})
	}
	for i := range p.Verdicts {
		l.record(&record.Verdict{Incident: t.incident, NetNS: t.netns, Verdict: p.Verdicts[i]})
	}
	for i := range p.Overrides {
		ov := &p.Overrides[i]
		r := &record.Override{NetNS: t.netns, Override: *ov}
		if l.deps.LikelyWriter != nil {
			r.Likely = l.deps.LikelyWriter(ov.Sysctl(), ov.Found)
		}
		l.record(r)
	}
	if p.Trips {
		l.record(&record.Breaker{Decision: l.decision(t, p)})
	}
	if level != t.level {
		clear(t.heldAt)
	}
	l.recordHold(t, p)
	if level == policy.Calm && t.level != policy.Calm {
		l.record(&record.IncidentClose{Edge: l.incidentEdge(t, &a.Observation, "the table is calm")})
		t.incident = ""
	}
	t.level = level
}

// incidentEdge is the payload of the record that the incident of a table begins or is
// over.
func (l *Loop) incidentEdge(t *table, o *policy.Observation, why string) record.Edge {
	r := record.Edge{
		Incident: t.incident, NetNS: t.netns, Moment: o.Now, Entries: o.Table.Entries, Max: o.Table.Max,
		Why: why,
	}
	if t.netns != 0 {
		r.Name = l.name(t.netns)
	}
	return r
}

// heldEvery is the least time between two records of the same hold.
const heldEvery = 5 * time.Minute

// recordHold records a hold when it begins, and in an incident every heldEvery
// while it lasts.
func (l *Loop) recordHold(t *table, p *policy.Plan) {
	lasts := p.Held == t.held
	t.held = p.Held
	if p.Held.Quiet() || p.Trips || lasts && p.Assessment.Level == policy.Calm {
		return
	}
	now := p.Assessment.Observation.Now
	if at, ok := t.heldAt[p.Held]; ok && now.Since(at) < heldEvery {
		return
	}
	if t.heldAt == nil {
		t.heldAt = make(map[policy.Hold]policy.BootTime)
	}
	t.heldAt[p.Held] = now
	l.record(&record.Hold{Decision: l.decision(t, p)})
}

func (l *Loop) record(p record.Payload) {
	l.reportOnce("record", l.deps.Record(p))
}

func (l *Loop) decision(t *table, p *policy.Plan) record.Decision {
	a := &p.Assessment
	r := record.Decision{
		Incident: t.incident, NetNS: t.netns, Limits: l.limits.Digest(), PolicyVersion: policy.Version,
		Level: a.Level, Cause: a.Cause, State: t.state, Observation: a.Observation,
		Budget: a.Budget, Plan: *p,
	}
	if p.Acts() {
		r.Would = p.Actions[0].Would
	}
	return r
}

// recordCensus records the census of a table: every one at first, and fewer in a
// long incident, as the samples.
func (l *Loop) recordCensus(t *table, look *CensusResult) {
	if t.censusRecorded != 0 && t.censusAt.Since(t.censusRecorded) < batch*t.recorder.interval(t.censusAt) {
		return
	}
	t.censusRecorded = t.censusAt
	l.record(&record.Census{Incident: t.incident, NetNS: t.netns, Summary: t.census, Top: look.Top})
}

func (l *Loop) recordSignal(t *table, s *policy.Signal) {
	l.record(&record.Signal{Incident: t.incident, Signal: *s})
}

// incidentName names an incident after the second it began in: sortable, and
// unique to a table because an incident lasts for minutes. Where several tables
// fill in the same second, the later ones add their namespace.
func (l *Loop) incidentName(t *table) string {
	wall, _ := l.deps.Now()
	name := "INC-" + wall.UTC().Format("20060102T150405Z")
	for _, other := range l.tables {
		if other != t && other.incident == name {
			return fmt.Sprintf("%s-%d", name, t.netns)
		}
	}
	return name
}
