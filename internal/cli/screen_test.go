package cli

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
)

// filling is a view of a table that filled evenly, up to now.
func filling(now *status.Status) *view {
	v := &view{last: now, looks: 600}
	for i := range 600 {
		r := standing(policy.High, uint64(i), 1000, policy.HeldBudget)
		v.past.add(r)
	}
	return v
}

func TestAFrameFitsItsTerminal(t *testing.T) {
	v := filling(standing(policy.High, 870, 1000, policy.HeldBudget))
	for _, s := range []ui.Terminal{
		{Columns: 200, Rows: 60}, {Columns: 80, Rows: 40}, {Columns: 60, Rows: 40}, {Columns: 49, Rows: 24}, {Columns: 20, Rows: 10}, {Columns: 10, Rows: 3}, {Columns: 1, Rows: 1},
		{Columns: 80, Rows: 40, ASCII: true}, {Columns: 20, Rows: 10, ASCII: true},
	} {
		text := v.frame(s)
		lines := strings.Split(strings.ReplaceAll(text, ui.ClearLine, ""), "\r\n")
		if len(lines) > s.Rows {
			t.Errorf("%+v: %d lines", s, len(lines))
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) > s.Columns {
				t.Errorf("%+v: too wide: %q", s, l)
			}
		}
		if strings.Contains(text, "\x1b[3") {
			t.Errorf("%+v: coloured", s)
		}
		if other := strings.IndexFunc(text, func(c rune) bool { return c > '~' }); s.ASCII && other >= 0 {
			t.Errorf("%+v: letters that the terminal does not have: %q", s, text[other:])
		}
		if curve := strings.Contains(text, "┤") || strings.Contains(text, "0 +"); curve != (s.Columns >= 49) {
			t.Errorf("%+v: a curve: %v\n%s", s, curve, text)
		}
		// What matters is never cut off, wherever there is room for it.
		whole := strings.Join(strings.Fields(strings.ReplaceAll(text, ui.ClearLine, " ")), " ")
		for _, want := range []string{"870 of 1000", "87.0%", "high", "ceiling permits"} {
			if s.Columns >= 20 && !strings.Contains(whole, want) {
				t.Errorf("%+v: no %q in\n%s", s, want, text)
			}
		}
	}
}

func TestANarrowTerminalIsToldWhatMatters(t *testing.T) {
	with := func(change func(*status.Status)) *status.Status {
		r := standing(policy.High, 870, 1000, policy.HeldBudget)
		change(r)
		return r
	}
	for name, c := range map[string]struct {
		r    *status.Status
		want string
	}{
		"a calm table":  {standing(policy.Calm, 5, 10, policy.HeldCalm), "calm 50.0%\n5 of 10\nnot growing"},
		"no daemon":     {with(func(r *status.Status) { *r = *standing(policy.Calm, 5, 10, policy.NotHeld); r.Running = false }), "no daemon runs\ncalm 50.0%\n5 of 10"},
		"nobody looked": {&status.Status{Running: true}, "no table yet"},
		"no table":      {with(func(r *status.Status) { r.Tables[0].Assessment.Observation.Absent = true }), "no table"},
		"everything at once": {with(func(r *status.Status) {
			r.Tables[0].Assessment.Observation.Table.Counters.Drop = 4
			r.Tables[0].Assessment.FullIn = 90 * time.Second
			other := standing(policy.Exhausted, 10, 10, policy.NotHeld).Tables[0]
			other.NetNS = 77
			r.Tables = append(r.Tables, other)
			r.Changed = make([]remediate.Row, 2)
		}), "high 87.0%\n870 of 1000\nfull in 1m30s at +0 entries/s\n4 packets lost\nheld: " + policy.HeldBudget.Sentence() +
			"\nnetns 77: exhausted 100.0%\n2 values changed"},
	} {
		var lines []string
		for _, m := range narrow(c.r) {
			lines = append(lines, m.text)
		}
		if diff := cmp.Diff(c.want, strings.Join(lines, "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestColourIsOfTheLevel(t *testing.T) {
	for level, want := range map[policy.Level]string{policy.Calm: "\x1b[32m", policy.Elevated: "\x1b[33m", policy.High: "\x1b[31m", policy.Exhausted: "\x1b[31m"} {
		for _, width := range []int{80, 20} {
			v := view{last: standing(level, 1, 10, policy.NotHeld)}
			lines := map[int]int{80: 2, 20: 1}[width] // the table's, and the level's
			if text := v.frame(ui.Terminal{Columns: width, Rows: 40, Color: true}); strings.Count(text, want) != lines || strings.Count(text, "\x1b[0m") != lines {
				t.Errorf("%v: not %d lines with %q in %q", level, lines, want, text)
			}
		}
	}
}
