package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
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
	return display{width: int(size.Col), height: int(size.Row), color: getenv("NO_COLOR") == ""}
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

// watchStatus shows the status every so often until ctx is done, which is no
// error: it is how one leaves.
func watchStatus(ctx context.Context, w io.Writer, every time.Duration, look func() (report, error), size func() display) error {
	if size().terminal() {
		fmt.Fprint(w, enterScreen)
		defer fmt.Fprint(w, leaveScreen)
	}
	var past history
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for {
		r, err := look()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		past.add(&r)
		text := oneLine(&r) + "\n"
		if s := size(); s.terminal() {
			text = homeCursor + frame(&r, &past, s) + clearRest
		}
		if _, err := io.WriteString(w, text); err != nil {
			return fmt.Errorf("write status: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// pastMost bounds what is remembered: no terminal is wider.
const pastMost = 512

// A history is how full the first table was at the latest looks.
type history struct{ entries, limit []float64 }

func (h *history) add(r *report) {
	if len(r.Tables) == 0 || r.Tables[0].Assessment.Observation.Absent {
		return
	}
	table := &r.Tables[0].Assessment.Observation.Table
	h.entries, h.limit = append(h.entries, float64(table.Entries)), append(h.limit, float64(table.Max))
	if len(h.entries) > pastMost {
		h.entries, h.limit = h.entries[1:], h.limit[1:]
	}
}

// last returns the latest n looks, or as many as there are.
func (h *history) last(n int) (limit, entries []float64) {
	from := max(len(h.entries)-n, 0)
	return h.limit[from:], h.entries[from:]
}

// oneLine is one look on one line.
func oneLine(r *report) string {
	at := r.At.Local().Format(time.DateTime)
	if len(r.Tables) == 0 {
		return at + " no table has been looked at yet"
	}
	t := &r.Tables[0]
	o := &t.Assessment.Observation
	if o.Absent {
		return at + " no table: nf_conntrack is not loaded"
	}
	text := fmt.Sprintf("%s %s %s %d of %d entries", at, t.Level, policy.Percent(t.Assessment.Fullness), o.Table.Entries, o.Table.Max)
	if t.Held != policy.NotHeld {
		text += ", held: " + t.HeldText
	}
	return text
}

// The least room for a curve, and the most that it takes.
const (
	curveWidth, curveHeight = 30, 4
	curveTallest            = 12
	axis                    = 12 // what the numbers at the left take
)

// frame fills a terminal: what status prints, and below it the curve, as far
// as there is room.
func frame(r *report, past *history, s display) string {
	var b bytes.Buffer
	if err := r.print(&b); err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	if rest := s.height - len(lines) - 2; len(past.entries) > 1 && s.width-axis >= curveWidth && rest > curveHeight {
		limit, entries := past.last(s.width - axis)
		plot := asciigraph.PlotMany([][]float64{limit, entries},
			asciigraph.Height(min(rest-2, curveTallest)), asciigraph.Precision(0), asciigraph.LowerBound(0))
		lines = append(lines, "")
		lines = append(lines, strings.Split(plot, "\n")...)
		lines = append(lines, "max (upper line) and entries (lower line); ctrl-c leaves")
	}
	if len(lines) > s.height {
		lines = lines[:s.height]
	}
	for i, l := range lines {
		lines[i] = cut(l, s.width)
		if s.color && len(r.Tables) > 0 {
			lines[i] = tint(lines[i], r.Tables[0].Level)
		}
	}
	return strings.Join(lines, clearLine+"\r\n") + clearLine
}

// cut shortens a line to width letters.
func cut(text string, width int) string {
	text = strings.TrimRight(text, " ")
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	runes := []rune(text)
	return string(runes[:max(width-1, 0)]) + "…"
}

// tint colours the lines that say how it stands.
func tint(text string, level policy.Level) string {
	if !strings.HasPrefix(text, "table") && !strings.HasPrefix(text, "level") {
		return text
	}
	colour := map[policy.Level]string{policy.Calm: "32", policy.Elevated: "33"}[level]
	if colour == "" {
		colour = "31"
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
