package report

import (
	"fmt"
	"strconv"

	"github.com/ctwarden/ctwarden/internal/incident"
)

// decisions is the table of what was decided and what happened, in order.
func (r *Report) decisions() section {
	i := &r.Incident
	s := section{title: "What ctwarden decided, and why"}
	if len(i.Decisions) == 0 {
		s.blocks = append(s.blocks, paragraph("No decision is recorded."))
		return s
	}
	t := &table{caption: "Decisions in their order", head: []string{"No.", "When", "What", "Why", "Result", "Did it help?"}}
	numbers := planNumbers(i)
	for n := range i.Decisions {
		d := &i.Decisions[n]
		nr := ""
		if m := numbers[d.Seq]; m > 0 && d.Kind == incident.Acted {
			nr = strconv.Itoa(m)
		}
		what, why, came, helped := decisionCells(d)
		if d.Repeats > 0 {
			what += fmt.Sprintf(" (%d times)", d.Repeats+1)
		}
		t.add(nr, elapsed(i, d.Time), what, why, came, helped)
	}
	s.blocks = append(s.blocks, paragraph("The numbers are those in the chart above. ctwarden plans, records and makes each action, then judges its effect. "+
		"Where it waits or is blocked, the reason is given."), block{table: t})
	return s
}

// decisionCells returns the cells of the row of a decision.
func decisionCells(d *incident.Decision) (what, why, came, helped string) {
	switch d.Kind {
	case incident.Acted:
		if d.Action != nil {
			return actionSentence(d), sentence(d.Action.Reason.Sentence()), sentence(result(d)), sentence(verdict(d))
		}
	case incident.Held:
		return "Waiting or blocked", sentence(d.Hold.Sentence()), "", ""
	case incident.BreakerOpened:
		return "Paused by the safety limit", "Too many actions within an hour", "", ""
	case incident.LevelChanged:
		return "Level " + d.Level.String(), grouped(clean(d.Text)), "", ""
	case incident.KernelLine:
		return "Kernel log", clean(d.Text), "", ""
	case incident.Overridden:
		return "Left to another program", clean(d.Text), "", ""
	}
	return sentence(clean(d.Text)), "", "", ""
}

// planNumbers numbers the plans that acted: several changes of one plan have one
// number.
func planNumbers(i *incident.Incident) map[uint64]int {
	numbers := map[uint64]int{}
	for n := range i.Decisions {
		d := &i.Decisions[n]
		if d.Kind == incident.Acted && d.Action != nil && numbers[d.Seq] == 0 {
			numbers[d.Seq] = len(numbers) + 1
		}
	}
	return numbers
}
