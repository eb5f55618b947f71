package remediate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// The child of a crash test finds in its environment where to work, and the
// step at which it is killed.
const (
	crashAt   = "CTWARDEN_CRASH_AT"
	crashProc = "CTWARDEN_CRASH_PROC"
	crashDir  = "CTWARDEN_CRASH_DIR"
	crashNS   = "CTWARDEN_CRASH_NETNS"
	finished  = 3 // the exit code of a child that was not killed
)

// TestMain runs the tests, or is a child of one.
func TestMain(m *testing.M) {
	child := crashChild
	switch {
	case os.Getenv(unitDir) != "":
		child = unitChild
	case os.Getenv(crashAt) == "":
		os.Exit(m.Run())
	}
	if err := child(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(finished)
}

// crashChild goes through a life of ctwarden and is killed at a step.
func crashChild(ctx context.Context) error {
	at, err := strconv.Atoi(os.Getenv(crashAt))
	if err != nil {
		return err
	}
	o := Options{Proc: os.Getenv(crashProc), Dir: os.Getenv(crashDir)}
	if path := os.Getenv(crashNS); path != "" {
		if o.Own, err = netns.Open(path); err != nil {
			return err
		}
	}
	o.Hash = policy.Defaults().Hash
	o.Hash.MaxStall = time.Hour
	k, err := Open(o)
	if err != nil {
		return err
	}
	reached := 0
	fault := func(string) error {
		if reached++; reached == at {
			if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
				return err
			}
			select {}
		}
		return nil
	}
	k.store.fault, k.sysctls.fault = fault, fault
	if _, err := k.Reconcile(ctx); err != nil {
		return err
	}
	actions := []policy.Action{
		shorten(conntrack.UDP, crashUDP, 20), shorten(conntrack.UDP, 20, 10), lengthen(conntrack.UDP, 10, 15),
	}
	if o.Own == nil {
		actions = append(actions, raise(1000, 2000), raise(2000, 3000), resize(512, 1024))
	}
	for _, act := range actions {
		if out := k.Apply(ctx, "i1", act); !out.OK {
			return fmt.Errorf("%+v", out)
		}
	}
	outcomes, err := k.Revert(ctx, true)
	if err != nil {
		return err
	}
	for _, out := range outcomes {
		if !out.OK {
			return fmt.Errorf("%+v", out)
		}
	}
	return nil
}

// crashUDP is the udp_timeout that the child begins with, the kernel's default.
const crashUDP = 30

// A victim is where children are killed, and what must be there afterwards.
type victim struct {
	proc, netns string
	// values reads all values that the child writes.
	values func() map[string]uint64
}

// killEverywhere kills a child at its first step, then at its second, and so
// on until one gets through, and calls recover after each.
func (v victim) killEverywhere(t *testing.T, recover func(t *testing.T, dir string)) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for at := 1; ; at++ {
		dir := stateDir(t)
		child := exec.Command(self)
		child.Env = append(os.Environ(), fmt.Sprintf("%s=%d", crashAt, at), crashProc+"="+v.proc,
			crashDir+"="+dir, crashNS+"="+v.netns)
		text, err := child.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatalf("step %d: %v\n%s", at, err, text)
		}
		if exit.ExitCode() == finished {
			if at < 20 {
				t.Errorf("only %d steps: the child did not do its work", at)
			}
			return
		}
		if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			t.Fatalf("step %d: %v\n%s", at, err, text)
		}
		recover(t, dir)
		if t.Failed() {
			t.Fatalf("killed at step %d", at)
		}
	}
}

// recovered opens what a killed child left, and proves that the ledger and the
// kernel agree and that a revert restores the originals.
func (v victim) recovered(t *testing.T, k *Kernel, originals map[string]uint64) {
	t.Helper()
	claims, err := k.Reconcile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range claims.Notes {
		if n.Kind != record.NoteKept && n.Kind != record.NoteReturned {
			t.Errorf("note: %s", n.Sentence())
		}
	}
	var state policy.State
	claims.Seed(&state, 0)
	knobs := map[string]policy.Knob{
		conntrack.SysctlMax: state.Max, conntrack.SysctlBuckets: state.Buckets, conntrack.UDP.Sysctl(): state.Timeouts[conntrack.UDP],
	}
	for name, now := range v.values() {
		want := policy.Knob{}
		if now != originals[name] {
			want = policy.Knob{Original: originals[name], Written: now}
		}
		wantDiff(t, "claim on "+name, want, knobs[name])
	}
	v.reverted(t, k, originals)
}

func (v victim) reverted(t *testing.T, k *Kernel, originals map[string]uint64) {
	t.Helper()
	outcomes, err := k.Revert(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range outcomes {
		if !out.OK {
			t.Errorf("%s", out.Sentence())
		}
	}
	wantDiff(t, "values after the revert", originals, v.values())
	if l := k.Ledger(); len(l.Entries)+len(l.History) != 0 {
		t.Errorf("ledger %+v", l)
	}
	torn, err := filepath.Glob(filepath.Join(k.options.Dir, "*.torn-*"))
	if err != nil || len(torn) != 0 {
		t.Errorf("torn ledgers %q, %v", torn, err)
	}
}

// TestKilledAtEveryStep kills ctwarden with SIGKILL at every step between the
// ledger and the kernel, and starts it again, or asks for a revert at once.
func TestKilledAtEveryStep(t *testing.T) {
	proc := newProc(t)
	proc.set(conntrack.UDP.Sysctl(), crashUDP)
	v := victim{proc: proc.root, values: func() map[string]uint64 {
		values := map[string]uint64{}
		for _, name := range []string{conntrack.SysctlMax, conntrack.SysctlBuckets, conntrack.UDP.Sysctl()} {
			values[name] = proc.get(name)
		}
		return values
	}}
	originals := v.values()
	v.killEverywhere(t, func(t *testing.T, dir string) {
		left := v.values()
		ledger, err := os.ReadFile(filepath.Join(dir, ledgerName))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		// It starts again, and is asked for a revert later.
		k := openAt(t, proc.root, dir)
		v.recovered(t, k, originals)
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		// It is asked for a revert at once.
		for name, value := range left {
			proc.set(name, value)
		}
		dir = stateDir(t)
		if ledger != nil {
			if err := os.WriteFile(filepath.Join(dir, ledgerName), ledger, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		k = openAt(t, proc.root, dir)
		v.reverted(t, k, originals)
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestKilledAtEveryStepOnThisKernel is the same with a real namespace.
func TestKilledAtEveryStepOnThisKernel(t *testing.T) {
	ns := cttest.NewNS(t)
	cttest.Count(t, ns) // the module is there
	v := victim{
		proc:  "/proc",
		netns: strings.Replace(ns.File().Name(), "/self/", "/"+strconv.Itoa(os.Getpid())+"/", 1),
		values: func() map[string]uint64 {
			return map[string]uint64{conntrack.UDP.Sysctl(): timeoutOf(t, ns, conntrack.UDP)}
		},
	}
	originals := v.values()
	if originals[conntrack.UDP.Sysctl()] != crashUDP {
		t.Fatalf("a fresh namespace has %v", originals)
	}
	v.killEverywhere(t, func(t *testing.T, dir string) {
		k, err := Open(Options{Dir: dir, Own: ns})
		if err != nil {
			t.Fatal(err)
		}
		v.recovered(t, k, originals)
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// timeoutOf reads a timeout of a namespace without the code under test.
func timeoutOf(tb testing.TB, ns *netns.NS, timeout conntrack.Timeout) (v uint64) {
	tb.Helper()
	err := ns.Do(func() error {
		text, err := os.ReadFile("/proc/sys/net/netfilter/" + timeout.Sysctl())
		if err != nil {
			return err
		}
		v, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}
