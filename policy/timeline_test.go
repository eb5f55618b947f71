package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

// A played scenario is its result, and the values that a test asks for.
type played struct {
	*tablesim.Result
	acts   []policy.Action
	causes []policy.Cause
	holds  []policy.Hold
	yields []time.Duration
}

func newPlayed(r *tablesim.Result) *played {
	p := played{Result: r}
	for i := range r.Timeline {
		line := &r.Timeline[i]
		switch line.Kind {
		case tablesim.ActionLine:
			p.acts = append(p.acts, line.Outcome.Action)
		case tablesim.CauseLine:
			p.causes = append(p.causes, line.Cause)
		case tablesim.HoldLine:
			p.holds = append(p.holds, line.Hold)
		case tablesim.OverrideLine:
			p.yields = append(p.yields, line.Override.Yield)
		}
	}
	return &p
}

// did reports whether an act of the kind was made, on the timeout if one is
// named.
func (p *played) did(kind policy.ActionType, timeout conntrack.Timeout) bool {
	return slices.ContainsFunc(p.acts, func(act policy.Action) bool {
		return act.Type == kind && act.Knob == timeout
	})
}

// timeline returns the acts, verdicts, changes of level and cause, and the
// holds. A hold is written once between two acts, a repeated event once.
func (p *played) timeline() []byte {
	var b strings.Builder
	held := map[policy.Hold]bool{}
	for i := range p.Timeline {
		line := &p.Timeline[i]
		text := ""
		switch line.Kind {
		case tablesim.EventLine:
			if strings.HasSuffix(line.Text, " times before)") {
				continue
			}
			text = line.Text
		case tablesim.LevelLine:
			// The change and the fullness, without the rest of the sentence.
			text, _, _ = strings.Cut(line.Text, ", ")
		case tablesim.CauseLine:
			text = line.Cause.String()
		case tablesim.ActionLine:
			text = actText(line.Outcome)
			clear(held)
		case tablesim.VerdictLine:
			text = fmt.Sprintf("%s %s", line.Verdict.Type, line.Verdict.Result)
			if line.Verdict.Bans {
				text += ", banned"
			}
		case tablesim.OverrideLine:
			o := line.Override
			text = fmt.Sprintf("%s%s wrote %d found %d, %s, yield %s", o.Type, timeoutName(o.Knob), o.Wrote, o.Found, o.Change, o.Yield)
			clear(held)
		case tablesim.HoldLine:
			if held[line.Hold] {
				continue
			}
			held[line.Hold] = true
			text = line.Hold.String()
		case tablesim.BreakerLine:
			text = line.Hold.String()
			clear(held)
		}
		fmt.Fprintf(&b, "%11s  %-8s  %s\n", line.At.Round(10*time.Millisecond), line.Kind, text)
	}
	return []byte(b.String())
}

func actText(out *policy.Outcome) string {
	act := &out.Action
	text := act.Type.String() + timeoutName(act.Knob)
	switch act.Type {
	case policy.AgeEntries, policy.DeleteEntries:
		text += fmt.Sprintf(" %s, %d of at most %d", act.Class, out.Changed, act.Cap)
	default:
		text += fmt.Sprintf(" %d -> %d", act.From, act.To)
	}
	text += ", " + act.Reason.String()
	switch {
	case act.Would:
		text = "would " + text
	case !out.OK:
		text += ": " + out.Error
	}
	return text
}

func timeoutName(timeout conntrack.Timeout) string {
	if timeout == conntrack.NoTimeout {
		return ""
	}
	return " " + timeout.String()
}

// totals returns the table of what was lost with the policy, without any, and
// with a cron job that doubles max.
func (p *played) totals(t *testing.T) []byte {
	t.Helper()
	var b strings.Builder
	if err := p.WriteTimeline(&b); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String()[strings.LastIndex(b.String(), "\n\n")+2:])
}
