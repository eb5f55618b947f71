package report

import (
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
)

// svg draws the curve: entries, limit, the bands of the levels below the
// limit, the numbered acts, and when packets were lost.
func svg(i *incident.Incident, id string, width, height, font float64) string {
	if len(i.Curve) < 2 || i.Last.At <= i.First.At {
		return ""
	}
	c := &ui.Chart{
		ID: id, Width: width, Height: height, Font: font, Points: points(i.Curve), Start: i.First.Time,
		Title: "Entries in the connection tracking table, and its limit, over time",
		Desc: fmt.Sprintf(
			"From %s to %s UTC. Entries began at %s, reached %s of a limit of %s, and ended at %s of %s. The numbered marks are the actions in the table of decisions.",
			timeOfDay(i.First.Time), timeOfDay(i.Last.Time), ui.Number(i.First.Entries), ui.Number(i.Peak.Entries), ui.Number(i.Peak.Max),
			ui.Number(i.Last.Entries), ui.Number(i.Last.Max)),
		Levels: []ui.Level{
			policy.Calm: {Name: policy.Calm.String()}, policy.Elevated: {Name: policy.Elevated.String(), From: 7500, To: 8500},
			policy.High: {Name: policy.High.String(), From: 8500, To: 9500}, policy.Exhausted: {Name: policy.Exhausted.String(), From: 9500, To: 10000},
		},
	}
	numbers, done := planNumbers(i), map[int]bool{}
	for n := range i.Decisions {
		d := &i.Decisions[n]
		// A reading comes only once a second, an outcome when the limit is set.
		if d.Outcome != nil && d.Action.Type == policy.RaiseMax {
			c.Steps = append(c.Steps, ui.Step{At: time.Duration(d.At - i.First.At), Max: d.Outcome.After})
		}
		nr := numbers[d.Seq]
		if d.Kind != incident.Acted || d.Action == nil || done[nr] {
			continue
		}
		done[nr] = true
		c.Marks = append(c.Marks, ui.Mark{At: sinceFirst(i, d), Number: nr, Text: clean(actionSentence(d)), Hollow: d.Action.Would})
	}
	return c.SVG("")
}

// sinceFirst is when a decision was made, by the curve's clock where it is
// known.
func sinceFirst(i *incident.Incident, d *incident.Decision) time.Duration {
	if d.At > 0 {
		return time.Duration(d.At - i.First.At)
	}
	return d.Time.Sub(i.First.Time)
}
