package watcher

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const (
	exportedCursor = "s=158d541c76f64deeb1061157ebd7f5b3;i=a0;b=aec3eee924bb4319a464bb0ef3d3ed16;m=113c5d9e4;t=660baf681c971;x=e0be1532481eb7a1"
	exportedLine   = `{"MESSAGE":"nf_conntrack: nf_conntrack: table full in netns 4026532178, dropping packet","__REALTIME_TIMESTAMP":"1795205976148337","_BOOT_ID":"aec3eee924bb4319a464bb0ef3d3ed16","_SOURCE_MONOTONIC_TIMESTAMP":"3585880182","__MONOTONIC_TIMESTAMP":"4626700772","__CURSOR":"` + exportedCursor + `"}`
)

func TestParseJournalJSON(t *testing.T) {
	whole := Record{
		Cursor: exportedCursor, Text: "nf_conntrack: nf_conntrack: table full in netns 4026532178, dropping packet",
		Printed: 3585880182 * time.Microsecond, Boot: "aec3eee924bb4319a464bb0ef3d3ed16",
		Mono: 0x113c5d9e4 * time.Microsecond, At: time.UnixMicro(0x660baf681c971),
	}
	bytes, bare := whole, whole
	bytes.Text, bare.Text, bare.Printed, bytes.Printed = "", "", 0, 0
	for name, c := range map[string]struct {
		line string
		want Record
		bad  bool
	}{
		"a line of the kernel":   {line: exportedLine, want: whole},
		"bytes that are no text": {line: `{"MESSAGE":[110,102,255],"__CURSOR":"` + exportedCursor + `"}`, want: bytes},
		"no message":             {line: `{"__CURSOR":"` + exportedCursor + `"}`, want: bare},
		"a null message":         {line: `{"MESSAGE":null,"__CURSOR":"` + exportedCursor + `"}`, want: bare},
		"no cursor":              {line: `{"MESSAGE":"x"}`, bad: true},
		"a cursor without time":  {line: `{"MESSAGE":"x","__CURSOR":"s=1;b=2"}`, bad: true},
		"a cursor of nonsense":   {line: `{"MESSAGE":"x","__CURSOR":"b=1;m=-5;t=zz"}`, bad: true},
		"no JSON":                {line: "Failed to open", bad: true},
		"torn":                   {line: exportedLine[:100], bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseJournalJSON([]byte(c.line))
			if c.bad != (err != nil) {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(c.want, got); !c.bad && diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParseJournalJSON(f *testing.F) {
	f.Add([]byte(exportedLine))
	f.Add([]byte(`{"MESSAGE":[1],"__CURSOR":"b=;m=0;t=0","_SOURCE_MONOTONIC_TIMESTAMP":"-9"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseJournalJSON(line)
		if err == nil && (r.Cursor == "" || r.Mono < 0 || r.Printed < 0) {
			t.Errorf("%q gives %+v", line, r)
		}
	})
}

func TestMissedMessages(t *testing.T) {
	for text, want := range map[string]uint64{
		"Missed 12 kernel messages": 12, "Missed kernel messages": 0, "Missed -1 kernel messages": 0,
		"Missed 12 kernel messages, and more": 0, "missed 12 kernel messages": 0, "Missed 99999999999 kernel messages": 0, "": 0,
	} {
		if got := missedMessages(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestCursorOnDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal.cursor")
	if cursor, err := readCursor(path); cursor != "" || err != nil {
		t.Errorf("no file: %q, %v", cursor, err)
	}
	if err := writeCursor(path, exportedCursor); err != nil {
		t.Fatal(err)
	}
	if cursor, err := readCursor(path); cursor != exportedCursor || err != nil {
		t.Errorf("read %q, %v", cursor, err)
	}
	if err := writeCursor(path, ""); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"torn": exportedCursor[:30], "empty": "", "two lines": exportedCursor + "\n" + exportedCursor, "huge": strings.Repeat("x", 2000),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if cursor, err := readCursor(path); cursor != "" || err == nil {
			t.Errorf("%s: read %q, %v", name, cursor, err)
		}
	}
	if err := writeCursor(filepath.Join(dir, "no/such/dir"), exportedCursor); err == nil {
		t.Error("wrote into a directory that is not there")
	}
	if cursor, err := readCursor(""); cursor != "" || err != nil {
		t.Errorf("no path: %q, %v", cursor, err)
	}
}

func TestCheckJournal(t *testing.T) {
	if err := CheckJournal(t.TempDir()); err == nil {
		t.Error("found a journal on a host without journald")
	}
}

func BenchmarkParseJournalJSON(b *testing.B) {
	for b.Loop() {
		if _, err := parseJournalJSON([]byte(exportedLine)); err != nil {
			b.Fatal(err)
		}
	}
}

// TestCheckJournalRefusesAnUnreadableJournal looks as an ordinary user: as such, the
// kernel checks what files may be opened by this thread.
func TestCheckJournalRefusesAnUnreadableJournal(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make a file that another user may not read")
	}
	root := t.TempDir()
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "run/log/journal/0123/system.journal")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	asUser := func(fn func() error) error {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends as this user
			if err := unix.Setfsuid(65534); err != nil {
				done <- err
				return
			}
			done <- fn()
		}()
		return <-done
	}
	check := func() error { return checkReadable(root) }
	if err := asUser(check); err != nil {
		t.Errorf("a journal that has not begun: %v", err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := asUser(check); !errors.Is(err, ErrNoJournal) || !errors.Is(err, os.ErrPermission) {
		t.Errorf("a journal of root's: %v", err)
	}
	if err := check(); err != nil {
		t.Errorf("as root: %v", err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := asUser(check); err != nil {
		t.Errorf("a journal for all: %v", err)
	}
}

func TestJournaldRecognisesOldLines(t *testing.T) {
	const boot = "aec3"
	for name, c := range map[string]struct {
		record Record
		now    time.Duration
		want   bool
	}{
		"of just now":                  {Record{Boot: boot, Mono: 100 * time.Second}, 101 * time.Second, false},
		"of nine seconds ago":          {Record{Boot: boot, Mono: 100 * time.Second}, 109 * time.Second, false},
		"of eleven seconds ago":        {Record{Boot: boot, Mono: 100 * time.Second}, 111 * time.Second, true},
		"of before the start":          {Record{Boot: boot, Mono: 49 * time.Second}, 51 * time.Second, true},
		"of another boot":              {Record{Boot: "beef", Mono: 100 * time.Second}, 101 * time.Second, true},
		"printed long before":          {Record{Boot: boot, Mono: 100 * time.Second, Printed: 60 * time.Second}, 101 * time.Second, true},
		"printed a little before":      {Record{Boot: boot, Mono: 100 * time.Second, Printed: 95 * time.Second}, 101 * time.Second, false},
		"printed later, by that clock": {Record{Boot: boot, Mono: 100 * time.Second, Printed: 160 * time.Second}, 101 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			j := &Journald{Boot: boot, started: 50 * time.Second}
			if got := j.tooOld(&c.record, j.skew.delay(&c.record), c.now); got != c.want {
				t.Errorf("late %t, want %t", got, c.want)
			}
		})
	}
}

// TestJournalctlStartsAfterTheCursor the cursor, and it ends with its reader.
func TestJournalctlStartsAfterTheCursor(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("needs /bin/sh, which is not in the virtual machine")
	}
	const cursor = "s=0;i=1;b=aec3;m=1;t=1;x=0"
	for name, c := range map[string]struct{ cursor, want, never string }{
		"behind a cursor": {cursor, "--no-tail --after-cursor=" + cursor, "--lines"},
		"at the end":      {"", "--lines=0", "--no-tail"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			script := "#!/bin/sh\necho \"$*\"\necho \"$$\"\nexec sleep 600\n"
			if err := os.WriteFile(filepath.Join(dir, journalctl), []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			journal, err := startJournalctl(c.cursor)
			if err != nil {
				t.Fatal(err)
			}
			lines := journal.(*journalctlProcess).lines
			args, pid := string(<-lines), string(<-lines)
			if !strings.Contains(args, c.want) || strings.Contains(args, c.never) {
				t.Errorf("asked for %q, want %q", args, c.want)
			}
			for _, match := range append(kernelMatches(), lossMatches()...) {
				if !strings.Contains(args, match) {
					t.Errorf("asked for %q, without %s", args, match)
				}
			}
			if err := journal.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat("/proc/" + pid); err == nil {
				t.Errorf("process %s is still there", pid)
			}
		})
	}
}
