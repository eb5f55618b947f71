package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/watcher"
)

// standing is a report of a daemon whose table holds so much.
func standing(level policy.Level, entries, most uint64, held policy.Hold) *status.Status {
	t := loop.TableStatus{Level: level, Held: held}
	if held != policy.NotHeld {
		t.HeldText = held.Sentence()
	}
	t.Assessment.Level = level
	t.Assessment.FullIn = policy.Never
	t.Assessment.Observation.Table = conntrack.Table{Entries: entries, Max: most, Buckets: 512}
	t.Assessment.Fullness = t.Assessment.Observation.Table.Fullness()
	at := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	return &status.Status{
		Running: true, Version: "1.0", Since: at,
		Status: loop.Status{At: at, Mode: policy.Enforce, Tables: []loop.TableStatus{t}},
		Sources: map[string]status.Source{
			"kmsg": {Status: watcher.Status{Alive: true}}, "journald": {Error: "no journal"},
		},
	}
}

func TestAWatchOutlivesTheDaemon(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for name, c := range map[string]struct {
		size ui.Terminal
		want string
	}{
		"on a screen": {ui.Terminal{Columns: 200, Rows: 50}, "no answer: unexpected EOF" + ui.ClearLine + "\r\ndaemon"},
		"in lines":    {ui.Terminal{}, "no answer: unexpected EOF\n"},
	} {
		t.Run(name, func(t *testing.T) {
			looks := 0
			var b bytes.Buffer
			ctx, cancel := context.WithCancel(ctx)
			err := watchStatus(ctx, &b, time.Millisecond, func() (*status.Status, error) {
				switch looks++; looks {
				case 2:
					return nil, io.ErrUnexpectedEOF
				case 4:
					cancel()
				}
				return standing(policy.Calm, 5, 10, policy.HeldCalm), nil
			}, func() ui.Terminal { return c.size })
			if err != nil || strings.Count(b.String(), "no answer") != 1 || !strings.Contains(b.String(), c.want) {
				t.Errorf("%v, %q", err, b.String())
			}
		})
	}
}

func TestALiveScreenComesAndGoes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looks := 0
	look := func() (*status.Status, error) {
		if looks++; looks == 3 {
			cancel()
		}
		return standing(policy.Calm, 5, 10, policy.HeldCalm), nil
	}
	var b bytes.Buffer
	err := watchStatus(ctx, &b, time.Millisecond, look, func() ui.Terminal { return ui.Terminal{Columns: 80, Rows: 30} })
	text := b.String()
	if err != nil || !strings.HasPrefix(text, ui.EnterScreen) || !strings.HasSuffix(text, ui.LeaveScreen) || strings.Count(text, ui.HomeCursor) != 2 {
		t.Errorf("%v, %q", err, text)
	}
}

func TestWithoutATerminalEachLookIsALine(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reports := []*status.Status{standing(policy.Calm, 5, 10, policy.HeldCalm), {}, standing(policy.Exhausted, 10, 10, policy.HeldBudget)}
	absent := standing(policy.Calm, 0, 0, policy.HeldNoTable)
	absent.Tables[0].Assessment.Observation.Absent = true
	reports = append(reports, absent)
	looks := 0
	var b bytes.Buffer
	err := watchStatus(ctx, &b, time.Millisecond, func() (*status.Status, error) {
		looks++
		if looks > len(reports) {
			cancel()
			return new(status.Status), nil
		}
		return reports[looks-1], nil
	}, func() ui.Terminal { return ui.Terminal{} })
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if err != nil || len(lines) != 4 || strings.Contains(b.String(), "\x1b") {
		t.Fatalf("%v, %q", err, b.String())
	}
	for i, want := range []string{"calm 50", "no table has been looked at yet", "exhausted 100", "nf_conntrack is not loaded"} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d is %q, want %q in it", i, lines[i], want)
		}
	}
}

// A resized is a watch that looks once an hour and is drawn anew in between.
type resized struct {
	t     *testing.T
	text  *bufio.Reader
	width atomic.Int64
	looks atomic.Int64
}

func watchResized(t *testing.T, width int64) *resized {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	r := &resized{t: t, text: bufio.NewReader(reader)}
	r.width.Store(width)
	ended := make(chan error)
	go func() {
		ended <- watchStatus(ctx, writer, time.Hour, func() (*status.Status, error) {
			r.looks.Add(1)
			return standing(policy.Calm, 5, 10, policy.HeldCalm), nil
		}, func() ui.Terminal { return ui.Terminal{Columns: int(r.width.Load()), Rows: 30} })
	}()
	t.Cleanup(func() {
		cancel()
		go func() { _, _ = io.Copy(io.Discard, r.text) }()
		if err := <-ended; err != nil || r.looks.Load() != 1 {
			t.Errorf("%v after %d looks, want one", err, r.looks.Load())
		}
	})
	return r
}

// to makes the terminal as wide, as the kernel tells of it.
func (r *resized) to(width int64) {
	r.t.Helper()
	r.width.Store(width)
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		r.t.Fatal(err)
	}
}

// until returns what is written up to end.
func (r *resized) until(end string) (text string) {
	r.t.Helper()
	for !strings.HasSuffix(text, end) {
		c, err := r.text.ReadByte()
		if err != nil {
			r.t.Fatal(err)
		}
		text += string(c)
	}
	return text
}

func TestAScreenFollowsItsTerminalAtOnce(t *testing.T) {
	r := watchResized(t, 100)
	if text := r.until(ui.ClearRest); !strings.Contains(text, "running since") {
		t.Errorf("a wide screen: %q", text)
	}
	r.to(20)
	if text := r.until(ui.ClearRest); !strings.Contains(text, "calm 50") || strings.Contains(text, "running since") {
		t.Errorf("the same, narrow: %q", text)
	}
}

func TestALineIsForALook(t *testing.T) {
	r := watchResized(t, 0)
	if text := r.until("\n"); !strings.Contains(text, "calm 50") {
		t.Errorf("a line: %q", text)
	}
	r.to(0) // a line more, or a look, would be seen
	r.to(100)
	if text := r.until(ui.ClearRest); !strings.HasPrefix(text, ui.HomeCursor) {
		t.Errorf("a line was written for a resize: %q", text)
	}
}

func TestAWatchThatCanNotBeginOrBeReadEnds(t *testing.T) {
	size := func() ui.Terminal { return ui.Terminal{} }
	fails := func() (*status.Status, error) { return nil, io.ErrUnexpectedEOF }
	if err := watchStatus(t.Context(), io.Discard, time.Millisecond, fails, size); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the first look fails: %v", err)
	}
	reader, writer := io.Pipe()
	reader.Close()
	works := func() (*status.Status, error) { return standing(policy.Calm, 5, 10, policy.HeldCalm), nil }
	if err := watchStatus(t.Context(), writer, time.Millisecond, works, size); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("nobody reads: %v", err)
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
		if fullScreen(ui.TerminalOf(w, getenv("xterm"))) {
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
