package remediate

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

const thisBoot = "6f1d1c1e-0000-4000-8000-000000000001"

// start is when every simulated clock starts.
var start = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// A fakeProc is a proc root of plain files.
type fakeProc struct {
	tb   testing.TB
	root string
}

// newProc makes a proc root as of a kernel that was just booted.
func newProc(tb testing.TB) fakeProc {
	tb.Helper()
	p := fakeProc{tb, tb.TempDir()}
	for _, dir := range []string{"sys/kernel/random", "sys/net/netfilter"} {
		if err := os.MkdirAll(filepath.Join(p.root, dir), 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	p.boot(thisBoot)
	p.set(conntrack.SysctlMax, 1000)
	p.set(conntrack.SysctlBuckets, 512)
	p.set(conntrack.SysctlCount, 10)
	for t := conntrack.TCPSynSent; t < conntrack.NumTimeouts; t++ {
		p.set(t.Sysctl(), 120)
	}
	return p
}

func (p fakeProc) path(name string) string {
	return filepath.Join(p.root, "sys", conntrack.SysctlDir, name)
}

func (p fakeProc) boot(id string) {
	p.tb.Helper()
	if err := os.WriteFile(filepath.Join(p.root, "sys/kernel/random/boot_id"), []byte(id+"\n"), 0o600); err != nil {
		p.tb.Fatal(err)
	}
}

func (p fakeProc) set(name string, v uint64) {
	p.tb.Helper()
	if err := os.WriteFile(p.path(name), []byte(strconv.FormatUint(v, 10)+"\n"), 0o600); err != nil {
		p.tb.Fatal(err)
	}
}

func (p fakeProc) get(name string) uint64 {
	p.tb.Helper()
	text, err := os.ReadFile(p.path(name))
	if err != nil {
		p.tb.Fatal(err)
	}
	v, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		p.tb.Fatal(err)
	}
	return v
}

// stateDir makes a directory that is nobody else's, whatever the umask.
func stateDir(tb testing.TB) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// openAt opens a Kernel on a proc root and a state directory.
func openAt(tb testing.TB, proc, dir string) *Kernel {
	tb.Helper()
	k, err := Open(Options{Proc: proc, Dir: dir, Now: func() time.Time { return start }})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := k.Close(); err != nil {
			tb.Error(err)
		}
	})
	return k
}

func raise(from, to uint64) policy.Action {
	return policy.Action{Type: policy.RaiseMax, From: from, To: to, Reason: policy.ReasonFill}
}

func resize(from, to uint64) policy.Action {
	return policy.Action{Type: policy.ResizeHash, From: from, To: to, Reason: policy.ReasonBudgetNeedsBuckets}
}

func shorten(t conntrack.Timeout, from, to uint64) policy.Action {
	return policy.Action{Type: policy.ShortenTimeout, Knob: t, From: from, To: to, Reason: policy.ReasonChurn}
}

func lengthen(t conntrack.Timeout, from, to uint64) policy.Action {
	return policy.Action{Type: policy.RestoreTimeout, Knob: t, From: from, To: to, Reason: policy.ReasonCalm}
}

// must applies an action that has to succeed.
func must(tb testing.TB, k *Kernel, act policy.Action) policy.Outcome {
	tb.Helper()
	out := k.Apply(tb.Context(), "i1", act)
	if !out.OK || out.Error != "" || out.Note != "" {
		tb.Fatalf("%s: %+v", act.Sentence(), out)
	}
	return out
}

func wantValue(tb testing.TB, p fakeProc, name string, want uint64) {
	tb.Helper()
	if got := p.get(name); got != want {
		tb.Errorf("%s = %d, want %d", name, got, want)
	}
}

func wantDiff(tb testing.TB, what string, want, got any) {
	tb.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
