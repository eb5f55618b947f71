package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
)

// A child is `ctwarden run` as a process of its own, in a network namespace of
// its own: what it could write of the host is read-only there.
type child struct {
	t    *testing.T
	cmd  *exec.Cmd
	dir  string
	mu   sync.Mutex
	said bytes.Buffer
	done chan error
	// stderr is where it speaks to; nil: to Write.
	stderr io.Writer
	// through is a command that becomes the one that follows its words; nil:
	// none.
	through []string
}

// Write keeps what the process says.
func (c *child) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said.Write(p)
}

func (c *child) output() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said.String()
}

// environ points a command at the directories of the test.
func (c *child) environ() []string {
	return append(os.Environ(), "CTWARDEN_TEST_MAIN=1",
		"CTWARDEN_STATE_DIR="+filepath.Join(c.dir, "state"),
		"CTWARDEN_AUDIT_PATH="+filepath.Join(c.dir, "log", "audit.jsonl"),
		"CTWARDEN_CONTROL_SOCKET="+filepath.Join(c.dir, "run", "control.sock"))
}

// start runs the daemon until it answers.
func (c *child) start(attr *syscall.SysProcAttr) {
	c.t.Helper()
	words := append(slices.Clone(c.through), os.Args[0], "run", "--config", filepath.Join(c.dir, "ctwarden.yaml"))
	c.cmd = exec.Command(words[0], words[1:]...)
	c.cmd.Env, c.cmd.SysProcAttr = c.environ(), attr
	if c.cmd.Stderr = c.stderr; c.stderr == nil {
		c.cmd.Stderr = c
	}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.done = make(chan error, 1)
	go func() { c.done <- c.cmd.Wait() }()
	c.t.Cleanup(func() {
		if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			c.t.Error(err)
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if r, ok := c.status(); ok && len(r.Tables) > 0 {
			return
		}
		select {
		case err := <-c.done:
			c.t.Fatalf("the daemon ended: %v\n%s", err, c.output())
		default:
		}
		if time.Now().After(end) {
			c.t.Fatalf("the daemon does not answer:\n%s", c.output())
		}
	}
}

// run runs a command of ctwarden and returns what it printed and its exit code.
func (c *child) run(args ...string) (string, int) {
	c.t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = c.environ()
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

func (c *child) status() (r status.Status, running bool) {
	text, code := c.run("status", "--json")
	if code != 0 {
		return r, false
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		c.t.Fatalf("status --json: %v\n%s", err, text)
	}
	return r, r.Running
}

// configure writes the configuration file.
func (c *child) configure(text string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, "ctwarden.yaml"), []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// eventually waits until the audit log holds text.
func (c *child) eventually(text string) {
	c.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		log, err := os.ReadFile(filepath.Join(c.dir, "log", "audit.jsonl"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.t.Fatal(err)
		}
		if bytes.Contains(log, []byte(text)) {
			return
		}
	}
	c.t.Fatalf("the audit log never said %q; the daemon said:\n%s", text, c.output())
}

// newChild makes the directories; it skips without root.
func newChild(t *testing.T) *child {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to give the daemon a network namespace of its own")
	}
	c := &child{t: t, dir: t.TempDir()}
	c.configure("mode: enforce\n")
	return c
}

var ownNetwork = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}

func TestRunReloadStop(t *testing.T) {
	c := newChild(t)
	c.start(ownNetwork)
	r, _ := c.status()
	if r.Mode != policy.Enforce || r.Tables[0].Held != policy.HeldCalm || len(r.Changed) != 0 || r.Audit == nil {
		t.Errorf("status %+v", r)
	}

	// A second daemon on the same directories is refused by name.
	text, code := c.run("run", "--config", filepath.Join(c.dir, "ctwarden.yaml"))
	if code != 1 || !strings.Contains(text, "ctwarden: error: ") || !strings.Contains(text, "ctwarden: hint: ctwarden status") {
		t.Errorf("second daemon: exit %d\n%s", code, text)
	}

	// A broken configuration is refused whole; the daemon goes on as before.
	c.configure("mode: observe\nlevels: {high: {enter: 110%}}\n")
	if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	c.eventually("reload refused: the old configuration stays")
	if r, _ := c.status(); r.Mode != policy.Enforce {
		t.Errorf("mode %v after a reload that was refused", r.Mode)
	}
	c.configure("mode: observe\n")
	if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	c.eventually("configuration reloaded")
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if r, _ := c.status(); r.Mode == policy.Observe {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the mode never changed")
		}
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-c.done; err != nil {
		t.Errorf("stopped with %v\n%s", err, c.output())
	}
	if text, code := c.run("audit", "verify"); code != 0 {
		t.Errorf("audit verify: exit %d\n%s", code, text)
	}
	if text, _ := c.run("audit", "show", "--kind", "start,stop"); strings.Count(text, "\n") != 2 {
		t.Errorf("start and stop:\n%s", text)
	}
	if text, _ := c.run("status"); !strings.Contains(text, "not running") {
		t.Errorf("status without a daemon:\n%s", text)
	}
}

func TestKilledDaemonStartsAgain(t *testing.T) {
	c := newChild(t)
	c.start(ownNetwork)
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-c.done; err == nil {
		t.Error("a killed daemon ended well")
	}
	c.start(ownNetwork)
	if text, code := c.run("audit", "verify"); code != 0 {
		t.Errorf("audit verify after kill -9: exit %d\n%s", code, text)
	}
}

// TestRunWithoutPrivileges: the daemon of an ordinary user watches, says what
// it may not do, and holds.
func TestRunWithoutPrivileges(t *testing.T) {
	c := newChild(t)
	for _, dir := range []string{"state", "log", "run"} {
		path := filepath.Join(c.dir, dir)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	for dir := c.dir; dir != "/"; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode()&0o001 == 0 {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The test binary lies where only root may go.
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(c.dir, "ctwarden.test")
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	old := os.Args[0]
	os.Args[0] = binary
	defer func() { os.Args[0] = old }()
	c.configure("watch: {netns: all}\nnetns: {act: true}\n")
	c.start(&syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET,
		Credential: &syscall.Credential{Uid: 65534, Gid: 65534},
	})
	r, _ := c.status()
	k := r.Tables[0].Assessment.Observation.Kernel
	if k.MaxWritable || k.TimeoutsWritable || k.Entries {
		t.Errorf("an ordinary user may write %+v", k)
	}
	for _, needed := range []string{"CAP_NET_ADMIN", "CAP_SYS_ADMIN and CAP_SYS_PTRACE: /usr/share/ctwarden/netns.conf"} {
		if !strings.Contains(c.output(), needed) {
			t.Errorf("the daemon does not say that it lacks %s:\n%s", needed, c.output())
		}
	}
}

// TestRunExitsOnWrongConfiguration: the exit code parts what another start mends
// from what it does not.
func TestRunExitsOnWrongConfiguration(t *testing.T) {
	c := &child{t: t, dir: t.TempDir()}
	file := filepath.Join(c.dir, "ctwarden.yaml")
	tests := map[string]struct {
		text string
		args []string
		code int
		says string
	}{
		"an unknown key of the file":     {"mode: observe\nnonsense: 1\n", []string{"run"}, exitConfig, file + ":2:1: nonsense: unknown key"},
		"a value out of bounds":          {"levels: {high: {enter: 110%}}\n", []string{"run"}, exitConfig, file + ":1:24: levels.high.enter"},
		"a flag out of bounds":           {"mode: observe\n", []string{"run", "--mode", "sometimes"}, exitConfig, "flag mode: expected one of"},
		"a flag that there is not":       {"mode: observe\n", []string{"run", "--sometimes"}, exitUsage, "unknown flag"},
		"a file that can't be read":      {"", []string{"run"}, exitError, "no such file or directory"},
		"the same mistake for a command": {"nonsense: 1\n", []string{"config", "check"}, exitError, file + ":1:1: nonsense: unknown key"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := os.RemoveAll(file); err != nil {
				t.Fatal(err)
			}
			if tt.text != "" {
				c.configure(tt.text)
			}
			said, code := c.run(append(tt.args, "--config", file)...)
			if code != tt.code || !strings.Contains(said, tt.says) {
				t.Errorf("exit code %d, want %d and %q\n%s", code, tt.code, tt.says, said)
			}
		})
	}
}

// TestDaemonSurvivesClosedStderr: journald, to which the standard error goes,
// may stop in the middle of a flood.
func TestDaemonSurvivesClosedStderr(t *testing.T) {
	c := newChild(t)
	listener, speaker, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stderr = speaker
	c.start(ownNetwork)
	if err := errors.Join(listener.Close(), speaker.Close()); err != nil {
		t.Fatal(err)
	}
	c.configure("mode: observe\n")
	if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil { // which it speaks of
		t.Fatal(err)
	}
	c.eventually("configuration reloaded")
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-c.done; err != nil {
		t.Errorf("a daemon that nobody listens to ended with %v", err)
	}
}

func TestDaemonRecordsItsJitter(t *testing.T) {
	c := newChild(t)
	c.start(ownNetwork)
	boot, err := remediate.BootID("")
	if err != nil {
		t.Fatal(err)
	}
	r, _ := c.status()
	if len(r.Tables) == 0 || r.Tables[0].Assessment.Observation.Jitter != agent.JitterOf(boot) {
		t.Errorf("observed: %+v", r.Tables)
	}
}
