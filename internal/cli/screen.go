package cli

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
)

// The least room for a curve, and the most that it takes.
const (
	curveWidth, curveHeight = 30, 4
	curveTallest            = 12
)

// tableWidth is the least width at which the table of status is legible. A
// narrower terminal shows only the most important lines.
const tableWidth = 50

// A statusLine is one line of a screen before layOut folds it.
type statusLine struct {
	what, text string
	// tinted is set for a line in the colour of the level.
	tinted bool
}

// frame fills a terminal: the output of status and, if there is room, the curve
// below it. A line that is too long continues in the next one.
func (v *view) frame(s ui.Terminal) string {
	r := v.last
	rows := wide(r)
	if s.Columns < tableWidth {
		rows = narrow(r)
	}
	if v.err != nil {
		rows = append([]statusLine{{text: v.noAnswer()}}, rows...)
	}
	lines := layOut(rows, r, s)
	if rest := s.Rows - len(lines) - 2; len(v.past.entries) > 1 && s.Columns-ui.PlotMargin >= curveWidth && rest > curveHeight {
		limit, entries := v.past.last(s.Columns - ui.PlotMargin)
		plot := ui.Plot(entries, limit, min(rest-2, curveTallest), false, "")
		lines = append(lines, "")
		lines = append(lines, strings.Split(plot, "\n")...)
		lines = append(lines, ui.Fold("max (upper line) and entries (lower line); ctrl-c leaves", s.Columns)...)
	}
	lines = lines[:min(len(lines), s.Rows)]
	text := strings.Join(lines, ui.ClearLine+"\r\n") + ui.ClearLine
	if s.ASCII {
		text = ui.ASCII(text)
	}
	return text
}

// wide returns the output of status.
func wide(r *status.Status) (rows []statusLine) {
	eachLine(r, func(what, text string) {
		rows = append(rows, statusLine{what, text, what == "table" || what == "level"})
	})
	return rows
}

// narrow returns the most important lines.
func narrow(r *status.Status) (rows []statusLine) {
	say := func(format string, args ...any) { rows = append(rows, statusLine{text: fmt.Sprintf(format, args...)}) }
	if !r.Running {
		say("no daemon runs")
	}
	if len(r.Tables) == 0 {
		say("no table yet")
		return rows
	}
	t := &r.Tables[0]
	a := &t.Assessment
	if a.Observation.Absent {
		say("no table")
		return rows
	}
	rows = append(rows, statusLine{text: fmt.Sprintf("%s %s", t.Level, policy.Percent(a.Fullness)), tinted: true})
	say("%d of %d", a.Observation.Table.Entries, a.Observation.Table.Max)
	if r.Running {
		say("%s", forecast(a))
	}
	if n := a.Observation.Table.Counters.FullDrops(); n > 0 {
		say("%d packets lost", n)
	}
	if t.Held != policy.NotHeld && !t.Held.Quiet() {
		say("held: %s", t.HeldText)
	}
	for i := range r.Tables[1:] {
		if other := &r.Tables[1+i]; other.Level != policy.Calm {
			say("netns %d: %s %s", other.NetNS, other.Level, policy.Percent(other.Assessment.Fullness))
		}
	}
	if n := len(r.Changed); n > 0 {
		say("%d values changed", n)
	}
	return rows
}

// layOut folds the rows into lines, with their subjects in a column of its own.
func layOut(rows []statusLine, r *status.Status, s ui.Terminal) (lines []string) {
	column := 0
	for _, w := range rows {
		column = max(column, utf8.RuneCountInString(w.what)+2)
	}
	if s.Columns < tableWidth {
		column = 0
	}
	for _, w := range rows {
		for i, part := range ui.Fold(w.text, s.Columns-column) {
			what := w.what
			if i > 0 || column == 0 {
				what = ""
			}
			line := fmt.Sprintf("%-*s%s", column, what, part)
			if w.tinted && s.Color && len(r.Tables) > 0 {
				line = tint(line, r.Tables[0].Level)
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// tint colours a line by the level.
func tint(text string, level policy.Level) string {
	switch level {
	case policy.Calm:
		return ui.Green.Paint(text)
	case policy.Elevated:
		return ui.Yellow.Paint(text)
	}
	return ui.Red.Paint(text)
}
