package ui_test

import (
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/ui"
)

func TestATerminalIsMeasured(t *testing.T) {
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("needs pseudoterminals: %v", err)
	}
	defer f.Close()
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env  map[string]string
		want ui.Terminal
	}{
		"a terminal with colours":    {map[string]string{"TERM": "xterm", "LANG": "C.UTF-8"}, ui.Terminal{Columns: 80, Rows: 24, Color: true}},
		"no colours are asked for":   {map[string]string{"TERM": "xterm", "LANG": "C.UTF-8", "NO_COLOR": "1"}, ui.Terminal{Columns: 80, Rows: 24}},
		"the locale has ASCII only":  {map[string]string{"TERM": "linux"}, ui.Terminal{Columns: 80, Rows: 24, Color: true, ASCII: true}},
		"a dumb one":                 {map[string]string{"TERM": "dumb", "LANG": "C.UTF-8"}, ui.Terminal{Columns: 80, Rows: 24, Dumb: true}},
		"one without a name is dumb": {nil, ui.Terminal{Columns: 80, Rows: 24, ASCII: true, Dumb: true}},
	} {
		if got := ui.TerminalOf(f, func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
