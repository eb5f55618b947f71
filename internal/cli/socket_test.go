package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// runAs runs a command of ctwarden as another user, and returns what it printed,
// its exit code and its pid.
func (c *child) runAs(user syscall.Credential, args ...string) (text string, code, pid int) {
	c.t.Helper()
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		c.t.Fatal(err)
	}
	binary := filepath.Join(c.t.TempDir(), "ctwarden.test") // the test's own lies where only root may go
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		c.t.Fatal(err)
	}
	for dir := filepath.Dir(binary); dir != "/"; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode()&0o001 == 0 {
			if err := os.Chmod(dir, 0o755); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Env = "/", c.environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &user}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		c.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode(), cmd.ProcessState.Pid()
}

// TestRequesterIsFromPeerCredentials: a member of the group may ask, under the uid and
// pid that the kernel knows; another user may not.
func TestRequesterIsFromPeerCredentials(t *testing.T) {
	const nobody, staff = 65534, 4242
	c := newChild(t)
	c.start(ownNetwork)
	for path, mode := range map[string]os.FileMode{"run": 0o750, "run/control.sock": 0o660} {
		path = filepath.Join(c.dir, path)
		if err := os.Chown(path, 0, staff); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has the mode %v, want %v; %v", path, info.Mode(), mode, err)
		}
	}
	pause := []string{"pause", "--for", "1h", "--reason", "a member asks"}
	text, code, pid := c.runAs(syscall.Credential{Uid: nobody, Gid: staff}, pause...)
	if code != exitOK {
		t.Fatalf("a member of the group: exit %d\n%s", code, text)
	}
	want := fmt.Sprintf(`"uid":%d,"pid":%d`, nobody, pid)
	if got := c.records(record.KindPause); !strings.Contains(got, want) || !strings.Contains(got, `"reason":"a member asks"`) {
		t.Errorf("no %s in the record %s", want, got)
	}
	text, code, _ = c.runAs(syscall.Credential{Uid: nobody, Gid: nobody}, "resume")
	if code != exitError || !strings.Contains(text, "permission denied") || !strings.Contains(text, "hint: sudo ") || !strings.Contains(text, " resume\n") {
		t.Errorf("a stranger: exit %d\n%s", code, text)
	}
	c.holds(policy.HeldPaused)
}

func TestPauseExpires(t *testing.T) {
	c := newChild(t)
	c.start(ownNetwork)
	c.mustRun("pause", "--for", "2s", "--reason", "short")
	c.holds(policy.HeldPaused)
	c.holds(policy.HeldCalm)
}

// TestManyRequestsKeepDaemonSmall asks a real daemon for everything
// that can be asked, also for what it refuses, and looks at what the kernel
// says of its memory. The first thousands warm it up.
func TestManyRequestsKeepDaemonSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 12,000 requests")
	}
	c := newChild(t)
	c.start(ownNetwork)
	socket := filepath.Join(c.dir, "run", "control.sock")
	ask := func(n int) {
		t.Helper()
		for i := range n {
			var err error
			switch i % 4 {
			case 0:
				_, err = control.Metrics(t.Context(), socket)
			case 1:
				if _, refused := control.Do(t.Context(), socket, "pause", control.Request{}); refused == nil {
					t.Fatal("a pause without end was granted")
				}
			default:
				_, err = control.Status(t.Context(), socket)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	ask(2000)
	before, files := resident(t, c.cmd.Process.Pid), c.files()
	ask(10_000)
	after := resident(t, c.cmd.Process.Pid)
	t.Logf("resident: %d KiB after 2,000 requests, %d KiB after 12,000", before, after)
	if after > before+4<<10 {
		t.Errorf("resident memory grew from %d to %d KiB", before, after)
	}
	// The last connections may still be on their way out.
	for end := time.Now().Add(20 * time.Second); c.files() > files+8; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("open files went from %d to %d", files, c.files())
		}
	}
}

// files returns how many files the daemon has open.
func (c *child) files() int {
	c.t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	return len(all)
}

// resident returns VmRSS of a process, in KiB.
func resident(t *testing.T, pid int) (kib int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err = strconv.Atoi(strings.Fields(rest + " ?")[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}
