package cli

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
)

// filling is a view of a table that filled evenly, up to now.
func filling(now report) *view {
	v := &view{last: now, looks: 600}
	for i := range 600 {
		r := standing(policy.High, uint64(i), 1000, policy.HeldBudget)
		v.past.add(&r)
	}
	return v
}

func TestAFrameFitsItsTerminal(t *testing.T) {
	v := filling(standing(policy.High, 870, 1000, policy.HeldBudget))
	for _, s := range []display{
		{width: 200, height: 60}, {width: 80, height: 40}, {width: 60, height: 40}, {width: 49, height: 24}, {width: 20, height: 10}, {width: 10, height: 3}, {width: 1, height: 1},
		{width: 80, height: 40, ascii: true}, {width: 20, height: 10, ascii: true},
	} {
		text := v.frame(s)
		lines := strings.Split(strings.ReplaceAll(text, clearLine, ""), "\r\n")
		if len(lines) > s.height {
			t.Errorf("%+v: %d lines", s, len(lines))
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) > s.width {
				t.Errorf("%+v: too wide: %q", s, l)
			}
		}
		if strings.Contains(text, "\x1b[3") {
			t.Errorf("%+v: coloured", s)
		}
		if other := strings.IndexFunc(text, func(c rune) bool { return c > '~' }); s.ascii && other >= 0 {
			t.Errorf("%+v: letters that the terminal does not have: %q", s, text[other:])
		}
		if curve := strings.Contains(text, "┤") || strings.Contains(text, "0 +"); curve != (s.width >= 49) {
			t.Errorf("%+v: a curve: %v\n%s", s, curve, text)
		}
		// What matters is never cut off, wherever there is room for it.
		whole := strings.Join(strings.Fields(strings.ReplaceAll(text, clearLine, " ")), " ")
		for _, want := range []string{"870 of 1000", "87.0%", "high", "ceiling permits"} {
			if s.width >= 20 && !strings.Contains(whole, want) {
				t.Errorf("%+v: no %q in\n%s", s, want, text)
			}
		}
	}
}

func TestFold(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		width int
		want  []string
	}{
		"nothing is one line":            {"", 5, []string{""}},
		"what fits is left":              {"ab cd", 5, []string{"ab cd"}},
		"a line breaks between words":    {"ab cd ef", 5, []string{"ab cd", "ef"}},
		"a word too long breaks":         {"abcdefg h", 3, []string{"abc", "def", "g h"}},
		"spaces at a break are no line":  {"ab   cd", 3, []string{"ab", "cd"}},
		"letters are counted, not bytes": {"äöü ß", 3, []string{"äöü", "ß"}},
		"no width is the least":          {"ab", 0, []string{"a", "b"}},
	} {
		if diff := cmp.Diff(c.want, fold(c.text, c.width)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestANarrowTerminalIsToldWhatMatters(t *testing.T) {
	with := func(change func(*report)) report {
		r := standing(policy.High, 870, 1000, policy.HeldBudget)
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		r    report
		want string
	}{
		"a calm table":  {standing(policy.Calm, 5, 10, policy.HeldCalm), "calm 50.0%\n5 of 10\nnot growing"},
		"no daemon":     {with(func(r *report) { *r = standing(policy.Calm, 5, 10, policy.NotHeld); r.Running = false }), "no daemon runs\ncalm 50.0%\n5 of 10"},
		"nobody looked": {report{Running: true}, "no table yet"},
		"no table":      {with(func(r *report) { r.Tables[0].Assessment.Observation.Absent = true }), "no table"},
		"everything at once": {with(func(r *report) {
			r.Tables[0].Assessment.Observation.Table.Counters.Drop = 4
			r.Tables[0].Assessment.FullIn = 90 * time.Second
			other := standing(policy.Exhausted, 10, 10, policy.NotHeld).Tables[0]
			other.NetNS = 77
			r.Tables = append(r.Tables, other)
			r.Changed = make([]remediate.Entry, 2)
		}), "high 87.0%\n870 of 1000\nfull in 1m30s at +0 entries/s\n4 packets lost\nheld: " + policy.HeldBudget.Sentence() +
			"\nnetns 77: exhausted 100.0%\n2 values changed"},
	} {
		var lines []string
		for _, m := range narrow(&c.r) {
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
			if text := v.frame(display{width: width, height: 40, color: true}); strings.Count(text, want) != lines || strings.Count(text, "\x1b[0m") != lines {
				t.Errorf("%v: not %d lines with %q in %q", level, lines, want, text)
			}
		}
	}
}

func TestWhatALocaleDraws(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want bool
	}{
		"none is that of C":               {nil, false},
		"LANG":                            {map[string]string{"LANG": "de_DE.UTF-8"}, true},
		"another spelling":                {map[string]string{"LANG": "C.utf8"}, true},
		"LC_ALL outranks LANG":            {map[string]string{"LANG": "C.UTF-8", "LC_ALL": "C"}, false},
		"LC_CTYPE outranks LANG":          {map[string]string{"LANG": "C", "LC_CTYPE": "C.UTF-8"}, true},
		"an empty one counts for nothing": {map[string]string{"LANG": "C.UTF-8", "LC_ALL": ""}, true},
		"Latin-1":                         {map[string]string{"LANG": "de_DE.ISO-8859-1"}, false},
	} {
		if got := utf8Locale(func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

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
		want display
	}{
		"a terminal with colours":     {map[string]string{"TERM": "xterm", "LANG": "C.UTF-8"}, display{width: 80, height: 24, color: true}},
		"no colours are asked for":    {map[string]string{"TERM": "xterm", "LANG": "C.UTF-8", "NO_COLOR": "1"}, display{width: 80, height: 24}},
		"the locale has ASCII only":   {map[string]string{"TERM": "linux"}, display{width: 80, height: 24, color: true, ascii: true}},
		"a dumb one is none":          {map[string]string{"TERM": "dumb", "LANG": "C.UTF-8"}, display{}},
		"one without a name, neither": {nil, display{}},
	} {
		if got := displayOf(f, func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
