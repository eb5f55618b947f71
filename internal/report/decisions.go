package report

import (
	"fmt"
	"strconv"

	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/policy"
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
	s.blocks = append(s.blocks, paragraph("The numbers are those in the picture above. Each act is planned, recorded, made, and then judged by what it changed. "+
		"Where ctwarden held back, it says why."), block{table: t})
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
		return "Held back", sentence(d.Hold.Sentence()), "", ""
	case incident.BreakerOpened:
		return "Stopped acting for a while", sentence(policy.HeldBreaker.Sentence()), "", ""
	case incident.LevelChanged:
		return "Level " + d.Level.String(), grouped(clean(d.Text)), "", ""
	case incident.KernelLine:
		return "Heard the kernel", clean(d.Text), "", ""
	case incident.Overridden:
		return "Left a value to somebody else", clean(d.Text), "", ""
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
