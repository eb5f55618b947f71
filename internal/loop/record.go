package loop

import (
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/policy"
)

// The payloads of the records that the loop writes. Their field names are a
// contract: docs/audit-log.md.

type planRecord struct {
	Incident string `json:"incident,omitempty"`
	NetNS    uint32 `json:"netns,omitempty"`
	// Limits is the digest of the limits in force; the config record that
	// has it holds them whole.
	Limits string `json:"limits"`
	// PolicyVersion is the policy.Version that decided; the records of the
	// first version have none.
	PolicyVersion int                `json:"policy_version"`
	Level         policy.Level       `json:"level"`
	Cause         policy.Cause       `json:"cause"`
	Would         bool               `json:"would,omitempty"`
	State         policy.State       `json:"state"`
	Observation   policy.Observation `json:"observation"`
	Budget        policy.Budget      `json:"budget"`
	policy.Plan
	Text string `json:"text"`
}

type outcomeRecord struct {
	Incident string `json:"incident,omitempty"`
	policy.Outcome
	Text string `json:"text"`
}

type levelRecord struct {
	Incident string       `json:"incident,omitempty"`
	NetNS    uint32       `json:"netns,omitempty"`
	From     policy.Level `json:"from"`
	Level    policy.Level `json:"level"`
	Entries  uint64       `json:"entries"`
	Max      uint64       `json:"max"`
	Text     string       `json:"text"`
}

type incidentRecord struct {
	Incident string        `json:"incident"`
	NetNS    uint32        `json:"netns,omitempty"`
	Moment   policy.Moment `json:"moment"`
	Entries  uint64        `json:"entries"`
	Max      uint64        `json:"max"`
	// Name is what people call the namespace, unless it is the own one.
	Name string `json:"netns_name,omitempty"`
	Text string `json:"text"`
}

type verdictRecord struct {
	Incident string `json:"incident,omitempty"`
	NetNS    uint32 `json:"netns,omitempty"`
	policy.Verdict
	Text string `json:"text"`
}

type overrideRecord struct {
	NetNS uint32 `json:"netns,omitempty"`
	policy.Override
	// Likely is who probably wrote the value.
	Likely string `json:"likely,omitempty"`
	Text   string `json:"text"`
}

type signalRecord struct {
	Incident string `json:"incident,omitempty"`
	policy.Signal
	Text string `json:"text"`
}

type censusRecord struct {
	Incident string `json:"incident,omitempty"`
	NetNS    uint32 `json:"netns,omitempty"`
	census.Summary
	// Top has the keys with the most entries, masked as configured.
	Top  census.Talkers `json:"top,omitzero"`
	Text string         `json:"text"`
}

type askedRecord struct {
	Asked
	Text string `json:"text"`
}

// Payloads returns an empty payload of each kind that the loop writes. Their
// fields are a contract, which docs/audit-log.md lists and a test compares.
func Payloads() map[audit.Kind]any {
	return map[audit.Kind]any{
		audit.KindPlan: planRecord{}, audit.KindHold: planRecord{}, audit.KindBreaker: planRecord{},
		audit.KindOutcome: outcomeRecord{}, audit.KindVerdict: verdictRecord{}, audit.KindOverride: overrideRecord{},
		audit.KindLevel: levelRecord{}, audit.KindSignal: signalRecord{}, audit.KindCensus: censusRecord{},
		audit.KindIncidentOpen: incidentRecord{}, audit.KindIncidentClose: incidentRecord{}, audit.KindSample: incident.Samples{},
		audit.KindPause: askedRecord{}, audit.KindResume: askedRecord{},
	}
}

// recordChanges records what a plan tells besides its actions: the level, the
// incident, verdicts, overrides, and a hold that is new and not ordinary.
func (d *Daemon) recordChanges(t *table, p *policy.Plan) {
	a := &p.Assessment
	table := &a.Observation.Table
	level := a.Level
	if level != t.level && t.level == policy.Calm {
		t.incident = d.incidentName(t)
		d.record(audit.KindIncidentOpen, d.incidentRecord(t, &a.Observation, "begins"))
	}
	if level != t.level {
		d.record(audit.KindLevel, levelRecord{
			t.incident, t.netns, t.level, level, table.Entries, table.Max, a.Sentence(),
		})
	}
	for i := range p.Verdicts {
		v := &p.Verdicts[i]
		d.record(audit.KindVerdict, verdictRecord{t.incident, t.netns, *v, v.Sentence()})
	}
	for i := range p.Overrides {
		ov := &p.Overrides[i]
		r := overrideRecord{t.netns, *ov, "", ov.Sentence()}
		if d.edges.Writer != nil {
			r.Likely = d.edges.Writer(ov.Sysctl(), ov.Found)
			r.Text += ", probably by " + r.Likely
		}
		d.record(audit.KindOverride, r)
	}
	if p.Trips {
		d.record(audit.KindBreaker, d.planRecord(t, p))
	}
	if level != t.level {
		clear(t.heldAt)
	}
	d.recordHold(t, p)
	if level == policy.Calm && t.level != policy.Calm {
		d.record(audit.KindIncidentClose, d.incidentRecord(t, &a.Observation, "is over"))
		t.incident = ""
	}
	t.level = level
}

// incidentRecord tells that the incident of a table begins or is over.
func (d *Daemon) incidentRecord(t *table, o *policy.Observation, what string) incidentRecord {
	r := incidentRecord{
		Incident: t.incident, NetNS: t.netns, Moment: o.Now, Entries: o.Table.Entries, Max: o.Table.Max,
		Text: "incident " + t.incident + " " + what,
	}
	if t.netns != 0 {
		r.Name = d.name(t.netns)
		r.Text += ", in " + r.Name
	}
	return r
}

// heldEvery is how often a hold that comes and goes is recorded at the most.
const heldEvery = 5 * time.Minute

// recordHold records a hold when it begins, and in an incident every now and
// then while it lasts.
func (d *Daemon) recordHold(t *table, p *policy.Plan) {
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
		t.heldAt = make(map[policy.Hold]policy.Moment)
	}
	t.heldAt[p.Held] = now
	d.record(audit.KindHold, d.planRecord(t, p))
}

func (d *Daemon) record(kind audit.Kind, payload any) {
	d.told("record", d.edges.Record(kind, payload))
}

func (d *Daemon) planRecord(t *table, p *policy.Plan) planRecord {
	a := &p.Assessment
	r := planRecord{
		Incident: t.incident, NetNS: t.netns, Limits: d.limits.Digest(), PolicyVersion: policy.Version,
		Level: a.Level, Cause: a.Cause, State: t.state, Observation: a.Observation,
		Budget: a.Budget, Plan: *p,
	}
	switch {
	case p.Acts():
		r.Would = p.Actions[0].Would
		for i := range p.Actions {
			if i > 0 {
				r.Text += ", "
			}
			r.Text += p.Actions[i].Sentence()
		}
		r.Text += ": " + p.Actions[0].Reason.Sentence()
		if r.Would {
			r.Text = "would " + r.Text
		}
	default:
		r.Text = "held: " + p.Held.Sentence()
	}
	r.Text += " (" + a.Sentence() + ")"
	return r
}

// recordCensus records what was found in a table: every look at first, and as
// much thinner as the samples in an incident that lasts.
func (d *Daemon) recordCensus(t *table, look *Look) {
	if t.recorded != 0 && t.censusAt.Since(t.recorded) < batch*t.recorder.interval(t.censusAt) {
		return
	}
	t.recorded = t.censusAt
	c := &t.census
	text := fmt.Sprintf("of %d entries looked at %s are unreplied, %s closing, %s established; %d may be deleted, %d aged",
		c.Seen, policy.Percent(c.Share(c.Unreplied)), policy.Percent(c.Share(c.Closing)),
		policy.Percent(c.Share(c.Established)), c.Deletable, c.Ageable)
	d.record(audit.KindCensus, censusRecord{t.incident, t.netns, *c, look.Top, text})
}

func (d *Daemon) recordSignal(t *table, s *policy.Signal) {
	text := "the kernel said: table full, dropping packet"
	if s.Named {
		text = fmt.Sprintf("the kernel said: table full in netns %d, dropping packet", s.NetNS)
	}
	if s.Count > 1 {
		text += fmt.Sprintf(" (%d times)", s.Count)
	}
	d.record(audit.KindSignal, signalRecord{t.incident, *s, text})
}

// incidentName names an incident after the second it began in: sortable, and
// unique to a table because an incident lasts for minutes. Where several tables
// fill in the same second, the later ones add their namespace.
func (d *Daemon) incidentName(t *table) string {
	wall, _ := d.edges.Now()
	name := "INC-" + wall.UTC().Format("20060102T150405Z")
	for _, other := range d.tables {
		if other != t && other.incident == name {
			return fmt.Sprintf("%s-%d", name, t.netns)
		}
	}
	return name
}
