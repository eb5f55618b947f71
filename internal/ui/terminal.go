package ui

import (
	"cmp"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A Terminal is the size and the abilities of a terminal. The zero Terminal is
// none: a file, a pipe.
type Terminal struct {
	Columns, Rows int
	// Color permits colours: https://no-color.org.
	Color bool
	// ASCII is a terminal whose locale has no other letters.
	ASCII bool
	// Dumb is a terminal that cannot move its cursor.
	Dumb bool
}

// TerminalOf returns the terminal that w is. It reads the environment through
// getenv.
func TerminalOf(w io.Writer, getenv func(string) string) Terminal {
	f, ok := w.(*os.File)
	if !ok {
		return Terminal{}
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row == 0 {
		return Terminal{}
	}
	name := getenv("TERM")
	dumb := name == "" || name == "dumb"
	return Terminal{
		Columns: int(size.Col), Rows: int(size.Row),
		Color: getenv("NO_COLOR") == "" && !dumb, ASCII: !utf8Locale(getenv), Dumb: dumb,
	}
}

// utf8Locale reads the variables that setlocale(3) reads, in its order.
func utf8Locale(getenv func(string) string) bool {
	name := strings.ToLower(cmp.Or(getenv("LC_ALL"), getenv("LC_CTYPE"), getenv("LANG")))
	return strings.Contains(name, "utf-8") || strings.Contains(name, "utf8")
}

// Control sequences of a terminal (console_codes(4)).
const (
	EnterScreen = "\x1b[?1049h\x1b[?25l" // the alternate screen, without a cursor
	LeaveScreen = "\x1b[?25h\x1b[?1049l"
	HomeCursor  = "\x1b[H"
	ClearLine   = "\x1b[K" // from the cursor to the end of the line
	ClearRest   = "\x1b[J" // from the cursor to the end of the screen
)

// A Style is the parameter of the sequence that sets the style of text.
type Style string

// The styles.
const (
	Bold   Style = "1"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
)

// Paint returns text in a style, and what follows it in none.
func (s Style) Paint(text string) string { return "\x1b[" + string(s) + "m" + text + "\x1b[0m" }
