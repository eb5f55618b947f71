package remediate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
)

// unitDir tells the child of TestActsOnEntriesWithTheUnitsPrivileges where its
// ledger is.
const unitDir = "CTWARDEN_UNIT_DIR"

// What the child tells on its standard output.
type unitReport struct {
	Probed, Proven map[string]string // features by their names
	Aged, Deleted  policy.Outcome
	Left           int
}

// The packaged unit runs as an ordinary user with CAP_NET_ADMIN and CAP_SYSLOG
// and may make no namespace to try the kernel in: what it is about to use must
// be proven all the same, by the first entries of an act.
func TestActsOnEntriesWithTheUnitsPrivileges(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to give up all but the unit's privileges")
	}
	const n = 300
	b := newBench(t, conntrack.Protect{})
	cttest.Fill(t, b.ns, n, like(cttest.Unreplied(), 300, "192.0.2.101"))
	cttest.Fill(t, b.ns, n, like(cttest.TCP(conntrack.StateTimeWait), 300, "192.0.2.102"))
	r := asTheUnit(t, b.ns)
	t.Logf("probed %v, proven %v", r.Probed, r.Proven)
	for _, feature := range []string{"delete_by_id", "update_timeout"} {
		if r.Probed[feature] != "unknown" || r.Proven[feature] != "yes" {
			t.Errorf("%s: %q after the probe, %q after the act", feature, r.Probed[feature], r.Proven[feature])
		}
	}
	if r.Probed["status_filter"] == "unknown" {
		t.Error("the status filter needs no namespace of its own to be probed")
	}
	if !r.Aged.OK || r.Aged.Changed != n {
		t.Errorf("aged: %+v", r.Aged)
	}
	if !r.Deleted.OK || r.Deleted.Changed != n {
		t.Errorf("deleted: %+v", r.Deleted)
	}
	if r.Left != n {
		t.Errorf("%d entries are left, want the %d closing ones", r.Left, n)
	}
}

// asTheUnit runs the child in the namespace with the unit's privileges.
func asTheUnit(t *testing.T, ns *netns.NS) (r unitReport) {
	t.Helper()
	const nobody = 65534
	dir, err := os.MkdirTemp("", "ctwarden") // t.TempDir is in one that is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe") // its path may be closed as well
	cmd.Env = append(os.Environ(), unitDir+"="+dir)
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYSLOG},
	}
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != finished {
		t.Fatalf("the child: %v\n%s", err, out.String())
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	return r
}

func unitChild(ctx context.Context) error {
	ns, err := netns.Current()
	if err != nil {
		return err
	}
	defer ns.Close()
	var r struct {
		Probed, Proven ctnetlink.Features
		Aged, Deleted  policy.Outcome
		Left           int
	}
	if r.Probed, err = ctnetlink.Probe(ctx, ns); err != nil {
		return err
	}
	now := start
	k, err := Open(Options{Dir: os.Getenv(unitDir), Own: ns, Features: r.Probed, Now: func() time.Time { return now }})
	if err != nil {
		return err
	}
	defer k.Close()
	for range 2 {
		timeouts, err := k.timeouts(ns)
		if err != nil {
			return err
		}
		k.ObserveTimeouts(0, timeouts)
		now = now.Add(time.Minute)
	}
	r.Aged = k.Apply(ctx, "", policy.Action{
		Type: policy.AgeEntries, Class: policy.Closing, Cap: 1000, Remaining: 30, Reason: policy.ReasonChurn,
	})
	r.Deleted = k.Apply(ctx, "", deletion(1000))
	r.Proven = k.features()
	c, err := ctnetlink.Dial(ns)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Dump(ctx, ctnetlink.Query{}, func(*conntrack.Entry, *ctnetlink.Key) bool { r.Left++; return true }); err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = fmt.Println(string(text))
	return err
}

func TestWhatAnActProvesIsKept(t *testing.T) {
	k := newKernel(Options{Dir: t.TempDir()})
	k.proven(policy.AgeEntries, ctnetlink.Yes)
	k.proven(policy.DeleteEntries, ctnetlink.No)
	want := ctnetlink.Features{DeleteByID: ctnetlink.No, UpdateTimeout: ctnetlink.Yes}
	if got := k.features(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	k.proven(policy.DeleteEntries, ctnetlink.Unknown)
	if got := k.features(); got != want {
		t.Errorf("an act that showed nothing: %+v, want %+v", got, want)
	}
	act := deletion(1)
	if err := checkSweep(&act, &want); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a deletion where ids are not compared: %v", err)
	}
}
