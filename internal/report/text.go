package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/ui"
)

// TextOptions are the width and the colours of a report in text.
type TextOptions struct {
	// Width is in columns; less than 40 counts as 40, 0 as 80.
	Width int
	// Color permits the colours of a terminal.
	Color bool
}

func (p TextOptions) columns() int {
	if p.Width == 0 {
		return 80
	}
	return max(p.Width, 40)
}

// WriteText writes the report for a terminal.
func (r *Report) WriteText(w io.Writer, p TextOptions) error {
	t := &terminalWriter{w: bufio.NewWriter(w), options: p}
	t.wrap("", r.Headline)
	for _, s := range r.sections() {
		t.line("")
		t.title(s.title)
		for n := range s.blocks {
			t.block(r, &s.blocks[n])
		}
	}
	if err := t.w.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// WriteShort writes the report in a few lines: what happened, the course, the
// acts, and with which command to read on.
func (r *Report) WriteShort(w io.Writer, p TextOptions, more string) error {
	t := &terminalWriter{w: bufio.NewWriter(w), options: p}
	i := &r.Incident
	t.wrap("", r.Headline)
	t.line("")
	t.line(Spark(i.Curve, min(t.options.columns(), 72)))
	t.line("")
	for _, row := range r.happened().firstRows() {
		t.wrap(fmt.Sprintf("%-30s", row[0]), row[1])
	}
	if e := &r.Without; e.Known {
		t.wrap(fmt.Sprintf("%-30s", "Without ctwarden, estimated"), likelyRange(&e.NoRoom)+" connections without room, "+rangeText(&e.Refused)+" refused")
	}
	t.line("")
	for n := range i.Decisions {
		if d := &i.Decisions[n]; d.Action != nil {
			t.wrap(fmt.Sprintf("%-12s", elapsed(i, d.Time)), actionSentence(d)+": "+result(d))
		}
	}
	t.line("")
	for _, command := range r.Undo {
		t.line("undo: " + clean(command))
	}
	t.line("more: " + clean(more))
	if err := t.w.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// firstRows returns the rows of a section's first table.
func (s section) firstRows() [][]string {
	for n := range s.blocks {
		if s.blocks[n].table != nil {
			return s.blocks[n].table.rows
		}
	}
	return nil
}

// A terminalWriter writes lines of a width; w keeps the first error.
type terminalWriter struct {
	w       *bufio.Writer
	options TextOptions
}

func (t *terminalWriter) line(text string) {
	_, _ = t.w.WriteString(strings.TrimRight(text, " ") + "\n")
}

func (t *terminalWriter) title(text string) {
	for _, line := range ui.Fold(strings.ToUpper(text), t.options.columns()) {
		if t.options.Color {
			line = ui.Bold.Paint(line)
		}
		t.line(line)
	}
	t.line("")
}

// wrap writes text in lines of the paper's width, the first behind lead.
func (t *terminalWriter) wrap(lead, text string) {
	indent := ui.Indent(lead)
	for _, line := range ui.Fold(clean(text), t.options.columns()-len(indent)) {
		t.line(lead + line)
		lead = indent
	}
}

func (t *terminalWriter) block(r *Report, b *block) {
	switch {
	case b.curve:
		t.curve(&r.Incident)
	case b.para != "":
		t.wrap("", b.para)
	case b.table != nil:
		t.table(b.table)
	case b.code != "":
		t.code(b)
	case b.list != nil:
		for _, item := range b.list {
			t.wrap("- ", item)
		}
	case b.note != "":
		t.wrap("", b.note)
	}
	t.line("")
}

// code writes commands and files as they are, so that they can be copied.
func (t *terminalWriter) code(b *block) {
	if b.note != "" {
		t.wrap("", b.about+": "+b.note)
	}
	for line := range strings.Lines(b.code) {
		t.line("    " + clean(strings.TrimRight(strings.ReplaceAll(line, "\t", "  "), "\n")))
	}
}

// table writes a table in columns where it fits, and row by row where not.
func (t *terminalWriter) table(tab *table) {
	rows := make([][]string, 0, len(tab.rows)+1)
	for _, row := range append([][]string{tab.head}, tab.rows...) {
		cells := make([]string, len(row))
		for c := range row {
			cells[c] = clean(row[c])
		}
		rows = append(rows, cells)
	}
	lines := ui.Align(rows, tab.right, t.options.columns())
	if lines == nil {
		t.stacked(tab)
		return
	}
	for _, line := range lines {
		if line != "" { // a head without words
			t.line(line)
		}
	}
}

// stacked writes a table that is too wide: each row as a paragraph, its cells
// behind their names. The first cells of a row of decisions are its lead.
func (t *terminalWriter) stacked(tab *table) {
	const indent = 12
	for _, row := range tab.rows {
		lead, from := "", 1
		if len(row) > 4 {
			lead, from = clean(row[0])+"  "+clean(row[1])+"  ", 2
			t.wrap(fmt.Sprintf("%-*s", indent, strings.TrimLeft(lead, " ")), row[2])
			from++
		} else {
			t.wrap("", row[0])
		}
		for c := from; c < len(row); c++ {
			switch name := strings.ToLower(clean(tab.head[c])); {
			case row[c] == "":
			case name == "":
				t.wrap("  ", row[c])
			case lead == "":
				t.wrap("  ", columnLabel(name)+row[c])
			default:
				t.wrap(strings.Repeat(" ", indent), columnLabel(name)+row[c])
			}
		}
	}
}

// curve draws entries and limit.
func (t *terminalWriter) curve(i *incident.Incident) {
	if len(i.Curve) < 2 {
		t.wrap("", "The log holds too few readings for a curve.")
		return
	}
	width := t.options.columns() - ui.PlotMargin
	entries, limit := ui.Columns(points(i.Curve), width)
	for line := range strings.Lines(ui.Plot(entries, limit, 12, t.options.Color, "")) {
		t.line(strings.TrimRight(line, "\n"))
	}
	first, last := timeOfDay(i.First.Time), timeOfDay(i.Last.Time)
	t.line(strings.Repeat(" ", 10) + first + strings.Repeat(" ", max(width-len(first)-len(last), 1)) + last + " UTC")
	t.wrap("", "The lower line is the number of entries, the upper one the limit, nf_conntrack_max.")
}

// points returns readings as they are drawn.
func points(curve []incident.Point) []ui.Point {
	drawn := make([]ui.Point, len(curve))
	for n := range curve {
		p := &curve[n]
		drawn[n] = ui.Point{At: p.At.Since(curve[0].At), Entries: p.Entries, Max: p.Max, Level: int(p.Level), Lost: p.Lost}
	}
	return drawn
}

// Spark draws the fullness over time in width characters.
func Spark(curve []incident.Point, width int) string { return ui.Spark(points(curve), width) }
