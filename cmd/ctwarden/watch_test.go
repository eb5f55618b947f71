package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ctwarden/ctwarden/internal/daemon"
	"github.com/ctwarden/ctwarden/internal/nfct"
	"github.com/ctwarden/ctwarden/policy"
)

// standing is a report of a daemon whose table holds so much.
func standing(level policy.Level, entries, most uint64, held policy.Hold) report {
	t := daemon.TableStatus{Level: level, Held: held}
	if held != policy.NotHeld {
		t.HeldText = held.Sentence()
	}
	t.Assessment.Level = level
	t.Assessment.FullIn = policy.Never
	t.Assessment.Observation.Table = nfct.Table{Entries: entries, Max: most, Buckets: 512}
	t.Assessment.Fullness = t.Assessment.Observation.Table.Fullness()
	at := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	return report{
		Running: true, Version: "1.0", Since: at,
		Status: daemon.Status{At: at, Mode: policy.Enforce, Tables: []daemon.TableStatus{t}},
		Sources: map[string]sourceReport{
			"kmsg": {Alive: true}, "journald": {Error: "no journal"},
		},
	}
}

func TestAFrameFitsItsTerminal(t *testing.T) {
	var past history
	for i := range 600 {
		r := standing(policy.High, uint64(i), 1000, policy.HeldBudget)
		past.add(&r)
	}
	r := standing(policy.High, 870, 1000, policy.HeldBudget)
	for _, s := range []display{{width: 80, height: 40}, {width: 200, height: 60}, {width: 40, height: 10}, {width: 10, height: 3}, {width: 1, height: 1}} {
		text := frame(&r, &past, s)
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
		if curve := strings.Contains(text, "┤") || strings.Contains(text, "┼"); curve != (s.width >= 80) {
			t.Errorf("%+v: a curve: %v\n%s", s, curve, text)
		}
	}
}

func TestColourIsOfTheLevel(t *testing.T) {
	var past history
	for level, want := range map[policy.Level]string{policy.Calm: "\x1b[32m", policy.Elevated: "\x1b[33m", policy.High: "\x1b[31m", policy.Exhausted: "\x1b[31m"} {
		r := standing(level, 1, 10, policy.NotHeld)
		if text := frame(&r, &past, display{80, 40, true}); !strings.Contains(text, want) {
			t.Errorf("%v: no %q in %q", level, want, text)
		}
	}
}

func TestALiveScreenComesAndGoes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looks := 0
	look := func() (report, error) {
		if looks++; looks == 3 {
			cancel()
		}
		return standing(policy.Calm, 5, 10, policy.HeldCalm), nil
	}
	var b bytes.Buffer
	err := watchStatus(ctx, &b, time.Millisecond, look, func() display { return display{width: 80, height: 30} })
	text := b.String()
	if err != nil || !strings.HasPrefix(text, enterScreen) || !strings.HasSuffix(text, leaveScreen) || strings.Count(text, homeCursor) != 2 {
		t.Errorf("%v, %q", err, text)
	}
}

func TestWithoutATerminalEachLookIsALine(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reports := []report{standing(policy.Calm, 5, 10, policy.HeldCalm), {}, standing(policy.Exhausted, 10, 10, policy.HeldBudget)}
	absent := standing(policy.Calm, 0, 0, policy.HeldNoTable)
	absent.Tables[0].Assessment.Observation.Absent = true
	reports = append(reports, absent)
	looks := 0
	var b bytes.Buffer
	err := watchStatus(ctx, &b, time.Millisecond, func() (report, error) {
		looks++
		if looks > len(reports) {
			return report{}, io.ErrUnexpectedEOF
		}
		return reports[looks-1], nil
	}, func() display { return display{} })
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(lines) != 4 || strings.Contains(b.String(), "\x1b") {
		t.Fatalf("%v, %q", err, b.String())
	}
	for i, want := range []string{"calm 50", "no table has been looked at yet", "exhausted 100", "nf_conntrack is not loaded"} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d is %q, want %q in it", i, lines[i], want)
		}
	}
}

func TestWhatIsATerminal(t *testing.T) {
	getenv := func(term string) func(string) string {
		return func(name string) string {
			if name == "TERM" {
				return term
			}
			return ""
		}
	}
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, w := range []io.Writer{file, io.Discard} {
		if displayOf(w, getenv("xterm")).terminal() {
			t.Errorf("%T is a terminal", w)
		}
	}
}

// TestWatchEndsWithItsReader: `status --watch | head -n 2`.
func TestWatchEndsWithItsReader(t *testing.T) {
	c := newChild(t)
	c.start(ownNetwork)
	cmd := exec.Command(os.Args[0], "status", "--watch", "--every", "100ms")
	cmd.Env = c.environ()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 20)
	if _, err := io.ReadFull(out, line); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ctrl-c is no error, but: %v", err)
	}
}
