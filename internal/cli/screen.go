package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/guptarohit/asciigraph"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/policy"
)

// A display is where a status is shown live. The zero display is no terminal:
// one line for each look is written there.
type display struct {
	width, height int
	color         bool
	// ascii is a terminal whose locale has no other letters.
	ascii bool
}

// displayOf asks what w is. A terminal that can't move its cursor is treated as
// none.
func displayOf(w io.Writer, getenv func(string) string) display {
	f, ok := w.(*os.File)
	if !ok || getenv("TERM") == "dumb" || getenv("TERM") == "" {
		return display{}
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row == 0 {
		return display{}
	}
	return display{
		width: int(size.Col), height: int(size.Row),
		color: getenv("NO_COLOR") == "", ascii: !utf8Locale(getenv),
	}
}

// utf8Locale asks the variables that setlocale(3) asks, in its order.
func utf8Locale(getenv func(string) string) bool {
	name := strings.ToLower(cmp.Or(getenv("LC_ALL"), getenv("LC_CTYPE"), getenv("LANG")))
	return strings.Contains(name, "utf-8") || strings.Contains(name, "utf8")
}

func (s display) terminal() bool { return s.width > 0 && s.height > 0 }

// What a terminal is told.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	homeCursor  = "\x1b[H"
	clearLine   = "\x1b[K"
	clearRest   = "\x1b[J"
)

// The least room for a curve, and the most that it takes.
const (
	curveWidth, curveHeight = 30, 4
	curveTallest            = 12
	axis                    = 12 // what the numbers at the left take
)

// tableWidth is what the table of status is legible at. A narrower terminal is
// told the little that matters most.
const tableWidth = 50

// A remark is one line of a screen before it is folded.
type remark struct {
	what, text string
	// tinted is one that has the colour of the level.
	tinted bool
}

// frame fills a terminal: what status prints, and below it the curve, as far
// as there is room. What is too long goes on in the next line.
func (v *view) frame(s display) string {
	r := &v.last
	rows := wide(r)
	if s.width < tableWidth {
		rows = narrow(r)
	}
	if v.err != nil {
		rows = append([]remark{{text: v.noAnswer()}}, rows...)
	}
	lines := layOut(rows, r, s)
	if rest := s.height - len(lines) - 2; len(v.past.entries) > 1 && s.width-axis >= curveWidth && rest > curveHeight {
		limit, entries := v.past.last(s.width - axis)
		plot := asciigraph.PlotMany([][]float64{limit, entries},
			asciigraph.Height(min(rest-2, curveTallest)), asciigraph.Precision(0), asciigraph.LowerBound(0))
		lines = append(lines, "")
		lines = append(lines, strings.Split(plot, "\n")...)
		lines = append(lines, fold("max (upper line) and entries (lower line); ctrl-c leaves", s.width)...)
	}
	lines = lines[:min(len(lines), s.height)]
	text := strings.Join(lines, clearLine+"\r\n") + clearLine
	if s.ascii {
		text = plain(text)
	}
	return text
}

// wide is what status prints.
func wide(r *report) (rows []remark) {
	r.tell(func(what, text string) {
		rows = append(rows, remark{what, text, what == "table" || what == "level"})
	})
	return rows
}

// narrow is the little that matters most.
func narrow(r *report) (rows []remark) {
	say := func(format string, args ...any) { rows = append(rows, remark{text: fmt.Sprintf(format, args...)}) }
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
	rows = append(rows, remark{text: fmt.Sprintf("%s %s", t.Level, policy.Percent(a.Fullness)), tinted: true})
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

// layOut folds the rows into lines, with what they are about in a column of its
// own.
func layOut(rows []remark, r *report, s display) (lines []string) {
	column := 0
	for _, w := range rows {
		column = max(column, utf8.RuneCountInString(w.what)+2)
	}
	if s.width < tableWidth {
		column = 0
	}
	for _, w := range rows {
		for i, part := range fold(w.text, s.width-column) {
			what := w.what
			if i > 0 || column == 0 {
				what = ""
			}
			line := fmt.Sprintf("%-*s%s", column, what, part)
			if w.tinted && s.color && len(r.Tables) > 0 {
				line = tint(line, r.Tables[0].Level)
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// fold breaks a line between words so that no part is wider than width, and
// within a word where that alone is wider.
func fold(text string, width int) (parts []string) {
	width = max(width, 1)
	rest := []rune(strings.TrimRight(text, " "))
	for len(rest) > width {
		end := width
		for end > 0 && rest[end] != ' ' {
			end--
		}
		if end == 0 {
			end = width
		}
		parts = append(parts, strings.TrimRight(string(rest[:end]), " "))
		rest = []rune(strings.TrimLeft(string(rest[end:]), " "))
	}
	return append(parts, string(rest))
}

// plain draws with the letters that every terminal has.
func plain(text string) string {
	return strings.Map(func(c rune) rune {
		switch c {
		case '─':
			return '-'
		case '│', '┤':
			return '|'
		case '┼':
			return '+'
		case '╭', '╮', '…':
			return '.'
		case '╰', '╯':
			return '\''
		}
		if c > '~' {
			return '?'
		}
		return c
	}, text)
}

// tint colours a line that says how it stands.
func tint(text string, level policy.Level) string {
	colour := map[policy.Level]string{policy.Calm: "32", policy.Elevated: "33"}[level]
	if colour == "" {
		colour = "31"
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
