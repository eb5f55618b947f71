package audit_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// childEnv is set in a child process to the name of its part in a test.
const childEnv = "CTWARDEN_AUDIT_CHILD"

// child returns a command that runs the test named in this very binary again.
func child(t *testing.T, role string, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(append(os.Environ(), childEnv+"="+role), env...)
	return cmd
}

// inMountNamespace runs the calling test again as a process with mounts of
// its own, and returns true in there. In the test itself it returns false
// when the child is done, or skips it without the privilege.
func inMountNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(childEnv) == "mounts" {
		if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	cmd := child(t, "mounts")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM) && os.Geteuid() != 0:
		t.Skip("needs CAP_SYS_ADMIN to make a mount namespace")
	case err != nil:
		t.Fatalf("child: %v\n%s", err, out)
	}
	if reason, ok := skipped(string(out)); ok {
		t.Skip(reason)
	}
	return false
}

// skipped finds the reason for which a child was skipped.
func skipped(out string) (string, bool) {
	if !strings.Contains(out, "--- SKIP") {
		return "", false
	}
	return strings.TrimSpace(out), true
}
