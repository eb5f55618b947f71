package audit_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
)

const planPayload = `{"level":"high","incident":"i-1","actions":[{"type":"raise_max","netns":402,"from":1,"to":2,"reason":"full_soon","would":true}],"note":"two\nlines"}`

func TestJournalFields(t *testing.T) {
	r := sealed(t, record.KindPlan, planPayload)
	j := &audit.Journal{}
	j.SetSend(0, func(message string, p journal.Priority, got map[string]string) error {
		want := map[string]string{
			"MESSAGE_ID": "0d6e2a53607f4c8eabdc46ac66dfb8fd", "SYSLOG_IDENTIFIER": "ctwarden",
			"CTWARDEN_KIND": "plan", "CTWARDEN_SEQ": "1", "CTWARDEN_TIME": "2026-11-20T19:00:00.000000000Z",
			"CTWARDEN_PREV": r.Prev.String(), "CTWARDEN_HASH": r.Hash.String(), "CTWARDEN_RECORD": string(r.Line()),
			"CTWARDEN_LEVEL": "high", "CTWARDEN_INCIDENT": "i-1", "CTWARDEN_ACTION": "raise_max",
			"CTWARDEN_NETNS": "402", "CTWARDEN_WOULD": "1",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("fields (-want +got):\n%s", diff)
		}
		if message != r.Sentence() || p != journal.PriNotice {
			t.Errorf("message %q, priority %d", message, p)
		}
		return nil
	})
	if err := j.Mirror(r); err != nil {
		t.Fatal(err)
	}
	if err := j.Mirror(sealed(t, record.KindSample, `{}`)); !errors.Is(err, audit.ErrNotMirrored) {
		t.Errorf("a sample: error %v", err)
	}
}

func TestJournalMessageIsNeverEmptyOrRaw(t *testing.T) {
	var got string
	j := &audit.Journal{}
	j.SetSend(0, func(m string, _ journal.Priority, _ map[string]string) error { got = m; return nil })
	for payload, want := range map[string]string{`{}`: "hold", `{"text":"a\nb"}`: `a\x0ab`} {
		if err := j.Mirror(sealed(t, record.KindHold, payload)); err != nil || got != want {
			t.Errorf("message %q, %v; want %q", got, err, want)
		}
	}
}

func TestJournalThatStalls(t *testing.T) {
	release := make(chan struct{})
	sent := 0
	j := &audit.Journal{}
	j.SetSend(time.Nanosecond, func(string, journal.Priority, map[string]string) error {
		sent++
		<-release
		return nil
	})
	r := sealed(t, record.KindHold, `{}`)
	for range 3 {
		if err := j.Mirror(r); !errors.Is(err, audit.ErrJournalStalled) {
			t.Fatalf("error %v", err)
		}
	}
	close(release)
	j.AwaitPending()
	if sent != 1 {
		t.Errorf("%d sends were left behind, want 1", sent)
	}
	j.SetSend(time.Hour, nil)
	if err := j.Mirror(r); err != nil {
		t.Errorf("error %v after the journal woke up", err)
	}
}

// TestJournalSocket takes what the real library sends at the real path, in a
// mount namespace where that path is ours.
func TestJournalSocket(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	mountRun(t)
	j := &audit.Journal{}
	r := sealed(t, record.KindPlan, planPayload)
	if err := j.Mirror(r); !errors.Is(err, audit.ErrNoJournal) {
		t.Errorf("no journald: error %v", err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/run/systemd/journal/socket", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := j.Mirror(r); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, audit.MaxLine*2)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	got := nativeFields(t, buf[:n])
	if got["CTWARDEN_HASH"] != r.Hash.String() || got["PRIORITY"] != "5" || got["MESSAGE"] != r.Sentence() {
		t.Errorf("fields %v", got)
	}
}

// mountRun makes /run a place of our own.
func mountRun(t *testing.T) {
	t.Helper()
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/run/systemd/journal", 0o755); err != nil {
		t.Fatal(err)
	}
}

// nativeFields reads journald's native protocol.
func nativeFields(t *testing.T, b []byte) map[string]string {
	t.Helper()
	fields := make(map[string]string)
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		if name, value, ok := bytes.Cut(line, []byte("=")); ok {
			fields[string(name)] = string(value)
			b = rest
			continue
		}
		size := binary.LittleEndian.Uint64(rest)
		fields[string(line)] = string(rest[8 : 8+size])
		b = rest[8+size+1:]
	}
	return fields
}

// TestRealJournal sends to systemd-journald and reads back with journalctl.
func TestRealJournal(t *testing.T) {
	const daemon = "/lib/systemd/systemd-journald"
	if _, err := os.Stat(daemon); err != nil {
		t.Skip("needs systemd-journald, which is not installed")
	}
	if _, err := exec.LookPath("journalctl"); err != nil {
		t.Skip("needs journalctl, which is not installed")
	}
	if !inMountNamespace(t) {
		return
	}
	mountRun(t)
	conf := "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRuntimeMaxUse=16M\n"
	if err := os.MkdirAll("/run/systemd/journald.conf.d", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, "/run/systemd/journald.conf.d/test.conf", []byte(conf))
	startJournald(t, daemon)
	l := newLog(t, audit.Options{Mirror: (&audit.Journal{}).Mirror})
	for _, text := range []string{"held", strings.Repeat("\x7f", 9000)} {
		if _, err := l.Append(&record.Hold{Decision: record.Decision{Text: text}}); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.notices) > 0 {
		t.Errorf("notices %q", l.notices)
	}
	var known []audit.Checkpoint
	for _, e := range journalEntries(t, "MESSAGE_ID="+record.KindHold.MessageID()) {
		r, err := audit.Parse([]byte(e["CTWARDEN_RECORD"]))
		if err != nil || r.Check() != nil {
			t.Errorf("the journal's copy does not verify: %v\n%v", err, slices.Sorted(maps.Keys(e)))
		}
		if e["PRIORITY"] != "4" || e["CTWARDEN_SEQ"] != fmt.Sprint(r.Seq) || e["SYSLOG_IDENTIFIER"] != "ctwarden" {
			t.Errorf("entry %.300v", e)
		}
		known = append(known, r.Checkpoint())
	}
	if len(known) != 2 {
		t.Fatalf("%d entries in the journal, want 2", len(known))
	}
	wantOK(t, l.path, known...)
}

// startJournald runs journald until the test ends, and returns when it says
// that it is ready.
func startJournald(t *testing.T, daemon string) {
	t.Helper()
	const notify = "/run/notify"
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(daemon)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		cmd.Wait() //nolint:errcheck // it is killed
		ready.Close()
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		<-exited
	})
	for buf := make([]byte, 4096); ; {
		n, err := ready.Read(buf)
		if err != nil {
			<-exited
			t.Fatalf("journald ended: %s", log.String())
		}
		if strings.Contains(string(buf[:n]), "READY=1") {
			return
		}
	}
}

// journalEntries reads this boot's entries that match.
func journalEntries(t *testing.T, match string) []map[string]string {
	t.Helper()
	if out, err := exec.Command("journalctl", "--sync").CombinedOutput(); err != nil {
		t.Fatalf("journalctl --sync: %v\n%s", err, out)
	}
	dirs, _ := filepath.Glob("/run/log/journal/*")
	if len(dirs) == 0 {
		t.Fatal("journald made no journal")
	}
	out, err := exec.Command("journalctl", "-D", dirs[0], "-o", "json", "--all", match).Output()
	if err != nil {
		t.Fatalf("journalctl: %v", err)
	}
	var entries []map[string]string
	for line := range bytes.Lines(out) {
		var e map[string]string
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("journalctl: %v\n%s", err, line)
		}
		entries = append(entries, e)
	}
	return entries
}
