package report_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

// A chronicle writes the events that a daemon would record of a simulated
// host, in the fields that docs/audit-log.md and docs/incidents.md promise.
type chronicle struct {
	t       testing.TB
	grouper incident.Grouper
	seq     uint64
	now     time.Time
	name    string
	level   policy.Level
	held    policy.Hold
	looked  policy.BootTime
	rows    []record.Sample
}

// write joins the fields of the parts to one record. It is most of what a
// simulated day takes, so nothing is decoded again.
func (c *chronicle) write(kind string, parts ...any) {
	c.t.Helper()
	c.seq++
	head := fields{"seq": c.seq, "time": c.now, "kind": kind}
	if kind != "sample" { // which says it itself
		head["incident"] = c.name
	}
	line := []byte{'{'}
	for _, part := range append([]any{head}, parts...) {
		text, err := json.Marshal(part)
		if err != nil || len(text) <= 2 || text[0] != '{' {
			c.t.Fatalf("part of a %s record: %s, %v", kind, text, err)
		}
		if len(line) > 1 {
			line = append(line, ',')
		}
		line = append(line, text[1:len(text)-1]...)
	}
	c.grouper.Add(incident.Event{Seq: c.seq, Time: c.now, Kind: record.Kind(kind), Line: append(line, '}')})
}

type fields map[string]any

func (c *chronicle) turn(turn *tablesim.Iteration) bool {
	p := turn.Plan
	a := &p.Assessment
	o := &a.Observation
	c.now = o.At
	table := fields{"moment": o.Now, "entries": o.Table.Entries, "max": o.Table.Max, "text": a.Sentence(), "level": a.Level}
	if a.Level != policy.Calm && c.level == policy.Calm {
		c.name = "INC-" + c.now.Format("20060102T150405Z")
		c.write("incident.open", table)
	}
	if a.Level != c.level {
		c.write("level", fields{"from": c.level, "level": a.Level, "text": a.Sentence()})
	}
	for i := range p.Verdicts {
		c.write("verdict", p.Verdicts[i])
	}
	for i := range p.Overrides {
		c.write("override", p.Overrides[i], fields{"text": p.Overrides[i].Sentence()})
	}
	c.decided(turn)
	if o.CensusAt != c.looked && o.CensusAt != 0 {
		c.looked = o.CensusAt
		c.write("census", struct{ census.Summary }{o.Census})
	}
	if a.Level == policy.Calm && c.level != policy.Calm {
		c.write("incident.close", table)
		c.flush()
		c.name = ""
	}
	c.level = a.Level
	c.sample(record.SampleOf(a))
	return true
}

func (c *chronicle) decided(turn *tablesim.Iteration) {
	p := turn.Plan
	a := &p.Assessment
	plan := fields{
		"level": a.Level, "cause": a.Cause, "observation": a.Observation, "budget": a.Budget, "state": turn.State, "actions": p.Actions,
		"held": p.Held, "text": p.Held.Sentence(),
	}
	switch {
	case p.Trips:
		c.write("breaker", plan)
	case p.Acts():
		c.write("plan", plan)
		for i := range turn.Outcomes {
			c.write("outcome", turn.Outcomes[i], fields{"text": turn.Outcomes[i].Sentence()})
		}
	case !p.Held.Quiet() && p.Held != c.held && c.name != "":
		c.write("hold", plan)
	}
	c.held = p.Held
}

// sample keeps a reading a second while there is an incident.
func (c *chronicle) sample(s record.Sample) {
	if n := len(c.rows); n > 0 && s.At.Since(c.rows[n-1].At) < time.Second {
		c.rows[n-1] = c.rows[n-1].Join(s)
		return
	}
	c.rows = append(c.rows, s)
	if c.name == "" {
		c.rows = c.rows[max(0, len(c.rows)-record.MaxSamples):]
	} else if len(c.rows) >= 10 {
		c.flush()
	}
}

func (c *chronicle) flush() {
	for len(c.rows) > 0 {
		n := min(len(c.rows), record.MaxSamples)
		c.write("sample", record.Samples{Incident: c.name, Wall: c.now.Add(-c.rows[len(c.rows)-1].At.Since(c.rows[0].At)), Rows: c.rows[:n]})
		c.rows = c.rows[n:]
	}
}

// play returns the incidents of a shipped scenario.
func play(t testing.TB, name string) []incident.Incident {
	t.Helper()
	s, err := tablesim.BuiltIn(name)
	if err != nil {
		t.Fatal(err)
	}
	limits := policy.Defaults()
	c := chronicle{t: t}
	tablesim.Simulate(s, &limits, c.turn)
	found := slices.Collect(c.grouper.Newest())
	for i := range found {
		if len(found[i].Gaps) > 0 {
			t.Fatalf("%s: %s: %q", name, found[i].ID, found[i].Gaps)
		}
	}
	return found
}

func summary(i *incident.Incident) string {
	return fmt.Sprintf("%s %s lost %d evicted %d acts %d cause %v", i.ID, i.Status, i.Losses.Packets, i.Losses.Evicted, i.Counts.Done, i.Cause)
}
