package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestAKilledDrillIsPutBack kills a drill that has raised max for the whole
// host and shortened timeouts in its namespace, which ends with it. What is
// left is max, and a revert puts it back without complaint.
func TestAKilledDrillIsPutBack(t *testing.T) {
	needHost(t)
	c := newChild(t)
	before := hostMax(t)
	drill := exec.Command(os.Args[0], "drill", "--host-wide")
	drill.Env, drill.Stdout, drill.Stderr = append(c.environ(), "TMPDIR="+c.dir), c, c
	if err := drill.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if after := hostMax(t); after != before {
			err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_max", []byte(strconv.FormatUint(before, 10)), 0)
			t.Errorf("nf_conntrack_max was %d and is %d; put back: %v", before, after, err)
		}
	})
	ledger := filepath.Join(c.dir, "state", "ledger.json")
	both := func() bool {
		text, err := os.ReadFile(ledger)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return strings.Contains(string(text), `"nf_conntrack_max"`) && strings.Contains(string(text), "_timeout_")
	}
	for end := time.Now().Add(2 * time.Minute); !both(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the ledger never held both:\n%s", c.output())
		}
	}
	if err := errors.Join(drill.Process.Kill(), ignoreExit(drill.Wait())); err != nil {
		t.Fatal(err)
	}
	if raised := hostMax(t); raised == before {
		t.Fatalf("the drill was killed with max at %d still", raised)
	}
	text, code := c.run("revert")
	if code != 0 || hostMax(t) != before {
		t.Errorf("revert: exit %d, max %d, want 0 and %d:\n%s", code, hostMax(t), before, text)
	}
	if both() || strings.Contains(text, "error") {
		t.Errorf("revert left something behind, or complained:\n%s", text)
	}
}

// ignoreExit passes on what is not the end of a process that was killed.
func ignoreExit(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}
