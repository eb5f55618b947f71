package ops

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/audit/verify"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// hostEnv says that the process is a host of its own, and which.
const hostEnv = "CTWARDEN_TEST_OPS_HOST"

const programs = "/usr/lib/systemd/"

func needJournalRemote(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to give each host a journal of its own")
	}
	for _, name := range []string{"systemd-journald", "systemd-journal-remote", "systemd-journal-upload"} {
		if _, err := os.Stat(programs + name); err != nil {
			t.Skip("needs systemd-journald and systemd-journal-remote (Debian package systemd-journal-remote)")
		}
	}
	if _, err := exec.LookPath("journalctl"); err != nil {
		t.Skip("needs journalctl (Debian package systemd)")
	}
}

func start(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	startCmd(t, cmd)
	return cmd
}

// startCmd starts a program, and stops it with the test. What it says is shown
// when the test fails.
func startCmd(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop(t, cmd)
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), &said)
		}
	})
}

// stop ends a program that start began; it may have ended before.
func stop(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if cmd.ProcessState != nil {
		return
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	_ = cmd.Wait() // that it was told to end is no failure
}

// eventually waits for other programs.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// setHostname makes this process a host with a name, a journal and an audit log,
// and has an incident recorded as the daemon does.
func setHostname(t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("CTWARDEN_TEST_OPS_DIR")
	if err := errors.Join(
		unix.Sethostname([]byte(name)),
		unix.Mount("none", "/run", "tmpfs", 0, ""),
		os.MkdirAll("/run/systemd/journal", 0o755), os.MkdirAll("/run/log/journal", 0o755), os.MkdirAll("/run/systemd/journald.conf.d", 0o755),
		os.WriteFile("/run/systemd/journald.conf.d/test.conf", []byte("[Journal]\nStorage=volatile\nReadKMsg=no\nForwardToSyslog=no\nRateLimitIntervalSec=0\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "machine-id"), fmt.Appendf(nil, "%032x\n", name), 0o444),
		unix.Mount(dir, "/run/log/journal", "", unix.MS_BIND, ""),
		unix.Mount(filepath.Join(dir, "machine-id"), "/etc/machine-id", "", unix.MS_BIND, ""),
	); err != nil {
		t.Fatal(err)
	}
	start(t, programs+"systemd-journald")
	eventually(t, "journald answers", func() bool {
		c, err := net.Dial("unixgram", "/run/systemd/journal/socket")
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	log, err := audit.Open(filepath.Join(dir, "audit.jsonl"), audit.Options{Mirror: new(audit.Journal).Mirror})
	if err != nil {
		t.Fatal(err)
	}
	incident := "INC-20261120T2253" + name[2:] + "0Z"
	for _, p := range []record.Payload{
		&record.Start{Text: "ctwarden starts"},
		&record.IncidentOpen{Edge: record.Edge{Incident: incident, Text: "incident " + incident + " begins"}},
		&record.Samples{Incident: incident},
		&record.Outcome{
			Incident: incident, Outcome: policy.Outcome{Action: policy.Action{Type: policy.DeleteEntries}, OK: true},
			Text: "deleted 52415 of 98756 examined entries",
		},
		&record.IncidentClose{Edge: record.Edge{Incident: incident, Text: "incident " + incident + " is over"}},
	} {
		if _, err := log.Append(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "journald keeps the records", func() bool {
		text, _ := exec.Command("journalctl", "--directory="+dir, "--quiet", "--output=cat", "CTWARDEN_KIND=incident.close").Output()
		return len(text) > 0
	})
}

// host runs this test once more as a host of its own, and returns the
// directory of its journal and audit log.
func host(t *testing.T, name string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	self.Env = append(os.Environ(), hostEnv+"="+name, "CTWARDEN_TEST_OPS_DIR="+dir)
	self.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS}
	if text, err := self.CombinedOutput(); err != nil {
		t.Fatalf("host %s: %v\n%s", name, err, text)
	}
	return dir
}

// collect has the journals of hosts taken in as docs/fleet.md says, and returns
// the collector's directory.
func collect(t *testing.T, dirs map[string]string) string {
	t.Helper()
	remote := t.TempDir()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, programs+"systemd-journal-remote", "--listen-http="+address, "--output="+remote, "--split-mode=host")
	eventually(t, "the collector listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	for name, dir := range dirs {
		upload := start(t, programs+"systemd-journal-upload", "--url=http://"+address, "--directory="+dir, "--save-state="+filepath.Join(t.TempDir(), "state"))
		eventually(t, "the journal of "+name+" arrives", func() bool {
			text, _ := exec.Command("journalctl", "--directory="+remote, "--quiet", "--output=cat", "CTWARDEN_KIND=incident.close", "_HOSTNAME="+name).Output()
			return len(text) > 0
		})
		stop(t, upload)
	}
	return remote
}

// asked finds the commands that docs/fleet.md shows of the collector.
var asked = regexp.MustCompile(`(?m)^(?:\$ |J=")(journalctl --directory=/var/log/journal/remote [^"\n]*)`)

// TestFleetIncidentsInCentralJournal takes records out of two hosts
// by journald, systemd-journal-upload and systemd-journal-remote, and runs the
// commands of docs/fleet.md where they arrive.
func TestFleetIncidentsInCentralJournal(t *testing.T) {
	needJournalRemote(t)
	if name := os.Getenv(hostEnv); name != "" {
		setHostname(t, name)
		return
	}
	dirs := map[string]string{"gw1": host(t, "gw1"), "gw2": host(t, "gw2")}
	remote := collect(t, dirs)
	commands := asked.FindAllStringSubmatch(read(t, root+"docs/fleet.md"), -1)
	if len(commands) < 4 {
		t.Errorf("docs/fleet.md shows %d commands", len(commands))
	}
	for _, c := range commands {
		line := strings.ReplaceAll(c[1], "/var/log/journal/remote", remote)
		line, _, _ = strings.Cut(line, " >")
		text, err := exec.Command("sh", "-c", line).CombinedOutput()
		switch one := strings.Contains(line, "_HOSTNAME=gw1"); {
		case err != nil, len(text) == 0:
			t.Errorf("%s: %v\n%s", c[1], err, text)
		case !one && (!bytes.Contains(text, []byte("gw1")) || !bytes.Contains(text, []byte("gw2"))):
			t.Errorf("%s does not tell of both hosts:\n%s", c[1], text)
		case one && bytes.Contains(text, []byte("gw2")):
			t.Errorf("%s tells of the other host:\n%s", c[1], text)
		}
	}
	for name, dir := range dirs {
		verifyAgainstJournal(t, remote, name, dir)
	}
}

// verifyAgainstJournal checks the log of a host against what left it.
func verifyAgainstJournal(t *testing.T, remote, name, dir string) {
	t.Helper()
	text, err := exec.Command("journalctl", "--directory="+remote, "--quiet", "--output=cat", "--output-fields=CTWARDEN_RECORD", "_HOSTNAME="+name).Output()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte(`"kind":"sample"`)) {
		t.Errorf("%s: samples left the host", name)
	}
	copies := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(copies, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var known []audit.Checkpoint
	v := verify.Verifier{Redecide: func(r audit.Record) error { known = append(known, r.Checkpoint()); return nil }}
	if _, err := v.Verify(t.Context(), copies); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if len(known) != 4 {
		t.Fatalf("%s: %d records arrived whole, want 4", name, len(known))
	}
	result, err := verify.Verifier{Known: known}.Verify(t.Context(), filepath.Join(dir, "audit.jsonl"))
	if err != nil || !result.OK() || result.Records != 5 {
		t.Errorf("%s: %+v, %v", name, result, err)
	}
}
