package cli

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

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestRevertAfterKilledDrill kills a drill that has raised max for the whole
// host and shortened timeouts in its namespace, which ends with it. What is
// left is max, and a revert puts it back without complaint.
func TestRevertAfterKilledDrill(t *testing.T) {
	cttest.NeedHost(t)
	c := newChild(t)
	before := cttest.HostMax(t)
	drill := exec.Command(os.Args[0], "drill", "--host-wide")
	drill.Env, drill.Stdout, drill.Stderr = append(c.environ(), "TMPDIR="+c.dir), c, c
	if err := drill.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if after := cttest.HostMax(t); after != before {
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
	if raised := cttest.HostMax(t); raised == before {
		t.Fatalf("the drill was killed with max at %d still", raised)
	}
	text, code := c.run("revert")
	if code != 0 || cttest.HostMax(t) != before {
		t.Errorf("revert: exit %d, max %d, want 0 and %d:\n%s", code, cttest.HostMax(t), before, text)
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

// TestDrillKeepsHostLedger stops a daemon that has changed values, also
// in a namespace that the drill does not know, and tries to drill on that host.
func TestDrillKeepsHostLedger(t *testing.T) {
	cttest.NeedRoot(t)
	c := newChild(t)
	host, pod := cttest.NewNS(t), cttest.NewNS(t)
	cttest.Count(t, host) // the module is there
	state := filepath.Join(c.dir, "state")
	k, err := remediate.Open(remediate.Options{Dir: state, Own: host, Find: func(inode uint32) (*netns.NS, error) {
		if inode != pod.Inode() {
			return nil, os.ErrNotExist
		}
		return pod, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, inode := range []uint32{0, pod.Inode()} {
		out := k.Apply(t.Context(), "", policy.Action{Type: policy.ShortenTimeout, NetNS: inode, Knob: conntrack.UDP, From: 30, To: 25})
		if !out.OK {
			t.Fatalf("%+v", out)
		}
	}
	before := k.Ledger()
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	drill := exec.CommandContext(t.Context(), os.Args[0], "drill", "--host-wide")
	drill.Env, drill.Stdout, drill.Stderr = append(c.environ(), "TMPDIR="+c.dir), c, c
	if err := host.Do(drill.Start); err != nil {
		t.Fatal(err)
	}
	err = drill.Wait()
	if err == nil || !strings.Contains(c.output(), "ctwarden revert") {
		t.Errorf("drill: %v\n%s", err, c.output())
	}
	after, err := remediate.ReadLedger(remediate.Options{Dir: state, Own: host})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.Entries, after.Entries); diff != "" {
		t.Errorf("-before +after\n%s", diff)
	}
	err = host.Do(func() error {
		text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_udp_timeout")
		if got := strings.TrimSpace(string(text)); got != "25" {
			t.Errorf("udp_timeout was 25 and is %s", got)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestDrillWithoutWritableMaxIsRefused: max can be written in the first
// namespace of the host only.
func TestDrillWithoutWritableMaxIsRefused(t *testing.T) {
	cttest.NeedRoot(t)
	c := newChild(t)
	ns := cttest.NewNS(t)
	cttest.Count(t, ns) // the module is there
	drill := exec.CommandContext(t.Context(), os.Args[0], "drill", "--host-wide")
	drill.Env, drill.Stdout, drill.Stderr = append(c.environ(), "TMPDIR="+c.dir), c, c
	if err := ns.Do(drill.Start); err != nil {
		t.Fatal(err)
	}
	if err := drill.Wait(); err == nil || !strings.Contains(c.output(), "is not writable") {
		t.Errorf("drill: %v\n%s", err, c.output())
	}
	if strings.Contains(c.output(), "flood") {
		t.Errorf("it began all the same:\n%s", c.output())
	}
}
