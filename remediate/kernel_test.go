package remediate

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
)

// writeTimeout sets a timeout of a test's own namespace without the code
// under test.
func writeTimeout(tb testing.TB, ns *netns.NS, timeout conntrack.Timeout, v uint64) {
	tb.Helper()
	err := ns.Do(func() error {
		return os.WriteFile("/proc/sys/net/netfilter/"+timeout.Sysctl(), []byte(strconv.FormatUint(v, 10)), 0)
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// A bench is a real namespace, a Kernel on it, and a clock that is turned.
type bench struct {
	ns  *netns.NS
	k   *Kernel
	now time.Time
}

// newBench makes timeouts so long that nothing expires by itself, and a watch
// that has lasted for a minute.
func newBench(t *testing.T, protect conntrack.Protect) *bench {
	t.Helper()
	b := &bench{ns: cttest.NewNS(t), now: start}
	cttest.Count(t, b.ns) // the module is there
	writeTimeout(t, b.ns, conntrack.UDP, 600)
	writeTimeout(t, b.ns, conntrack.TCPSynSent, 600)
	writeTimeout(t, b.ns, conntrack.TCPTimeWait, 600)
	writeTimeout(t, b.ns, conntrack.TCPMaxRetrans, 600)
	writeTimeout(t, b.ns, conntrack.TCPUnacknowledged, 600)
	features, err := ctnetlink.Probe(t.Context(), b.ns)
	if err != nil {
		t.Fatal(err)
	}
	b.k, err = Open(Options{
		Dir: stateDir(t), Own: b.ns, Protect: protect, Features: features, Now: func() time.Time { return b.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.k.Close(); err != nil {
			t.Error(err)
		}
	})
	b.look(t)
	b.now = b.now.Add(time.Minute)
	b.look(t)
	return b
}

func (b *bench) look(t *testing.T) {
	t.Helper()
	timeouts, err := b.k.timeouts(b.ns)
	if err != nil {
		t.Fatal(err)
	}
	b.k.ObserveTimeouts(0, timeouts)
}

// entries dumps the table by id.
func (b *bench) entries(t *testing.T) map[uint32]conntrack.Entry {
	t.Helper()
	c, err := ctnetlink.Dial(b.ns)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	list := map[uint32]conntrack.Entry{}
	if _, err := c.Dump(t.Context(), ctnetlink.Query{}, func(e *conntrack.Entry, _ *ctnetlink.Key) bool {
		list[e.ID] = *e
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func like(e conntrack.Entry, left uint32, dst string) conntrack.Entry {
	e.Timeout = left
	e.Orig.Dst = tuple("10.0.0.1", 1, dst, 1).Dst
	return e
}

func deletion(most uint64) policy.Action {
	return policy.Action{
		Type: policy.DeleteEntries, Class: policy.Unreplied, Cap: most,
		MinIdle: 10 * time.Second, SynSentIdle: 15 * time.Second, Reason: policy.ReasonHalfOpen,
	}
}

// TestDeletionSparesWhatItMust deletes under churn, and finds each entry that
// it must not touch again by its id.
func TestDeletionSparesWhatItMust(t *testing.T) {
	b := newBench(t, conntrack.Protect{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}})
	const old, each, most = 8_000, 500, 3_000
	cttest.NeedRoom(t, 20_000)
	cttest.Fill(t, b.ns, old, like(cttest.Unreplied(), 300, "192.0.2.101"))
	cttest.Fill(t, b.ns, each, like(cttest.TCP(conntrack.StateSynSent), 300, "192.0.2.102"))
	spared := []conntrack.Entry{
		like(cttest.Unreplied(), 598, "192.0.2.103"), // young
		like(cttest.Unreplied(), 300, "203.0.113.1"), // protected
		like(cttest.Replied(), 300, "192.0.2.104"),
		like(cttest.Assured(), 300, "192.0.2.105"),
		like(cttest.TCP(conntrack.StateEstablished), 300, "192.0.2.106"),
		like(cttest.TCP(conntrack.StateTimeWait), 300, "192.0.2.107"),
	}
	oneWay := like(cttest.TCP(conntrack.StateEstablished), 300, "192.0.2.108")
	oneWay.Status = 0
	fixed := like(cttest.Unreplied(), 300, "192.0.2.109")
	fixed.Status = conntrack.StatusFixedTimeout
	spared = append(spared, oneWay, fixed)
	for _, e := range spared {
		cttest.Fill(t, b.ns, each, e)
	}
	before := b.entries(t)

	var churn sync.WaitGroup
	stop := make(chan struct{})
	churn.Go(func() {
		for i := range most {
			select {
			case <-stop:
				return
			default:
			}
			for _, e := range []conntrack.Entry{
				like(cttest.Replied(), 300, "192.0.2.110"), like(cttest.Unreplied(), 600, "192.0.2.111"),
			} {
				cttest.Create(t, b.ns, cttest.Like(e, i))
			}
		}
	})
	out := b.k.Apply(t.Context(), "i1", deletion(1<<20))
	close(stop)
	churn.Wait()
	if !out.OK || out.ChangedExternally {
		t.Fatalf("outcome %+v", out)
	}
	if out.Changed != old+each || out.Gone != 0 {
		t.Errorf("deleted %d, gone %d; want %d and 0", out.Changed, out.Gone, old+each)
	}
	after := b.entries(t)
	for id, e := range before {
		_, left := after[id]
		young := e.Timeout > 590
		must := e.Status&conntrack.StatusSeenReply != 0 || young || e.Status&conntrack.StatusFixedTimeout != 0 ||
			e.State == conntrack.StateEstablished || b.k.protect.Covers(&e)
		if left != must {
			t.Fatalf("left: %t, must be: %t: %+v", left, must, e)
		}
	}
	counts := out.Entries.Eligibility
	for eligibility, want := range map[policy.Eligibility]uint64{
		policy.Eligible: old + each, policy.SparedProtected: each, policy.SparedFixedTimeout: each, policy.SparedEstablished: each,
	} {
		if counts[eligibility] != want {
			t.Errorf("%s: %d, want %d", eligibility, counts[eligibility], want)
		}
	}
	if counts[policy.SparedTooYoung] < each {
		t.Errorf("too young: %d, want at least %d", counts[policy.SparedTooYoung], each)
	}
	t.Logf("examined %d, counts %v, took %v", out.Examined, counts, out.Took)
}

// TestTheCapIsExact: never one more, and the count is true.
func TestTheCapIsExact(t *testing.T) {
	b := newBench(t, conntrack.Protect{})
	cttest.Fill(t, b.ns, 5000, like(cttest.Unreplied(), 300, "192.0.2.101"))
	for _, most := range []uint64{1, 128, 1000} {
		before := len(b.entries(t))
		out := b.k.Apply(t.Context(), "", deletion(most))
		if gone := before - len(b.entries(t)); !out.OK || out.Changed != most || gone != int(most) {
			t.Errorf("cap %d: %d deleted, %d gone from the table: %+v", most, out.Changed, gone, out)
		}
	}
}

// TestCancellingADeletionKeepsTheCountTrue whenever the context ends.
func TestCancellingADeletionKeepsTheCountTrue(t *testing.T) {
	b := newBench(t, conntrack.Protect{})
	const n = 20_000
	cttest.NeedRoom(t, n)
	cttest.Fill(t, b.ns, n, like(cttest.Unreplied(), 300, "192.0.2.101"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan policy.Outcome, 1)
	go func() { done <- b.k.Apply(ctx, "", deletion(n)) }()
	for cttest.Count(t, b.ns) > n-1000 && len(done) == 0 {
	}
	cancel()
	out := <-done
	left := cttest.Count(t, b.ns) // ids are not unique among so many
	if out.Changed == 0 || out.Changed+left != n {
		t.Errorf("%d deleted, %d left of %d: %+v", out.Changed, left, n, out)
	}
	if !out.OK && !strings.Contains(out.Error, context.Canceled.Error()) {
		t.Errorf("outcome %+v", out)
	}
}

// TestNothingIsProvenAtTheStart: without a watch nobody is known to be idle.
func TestNothingIsProvenAtTheStart(t *testing.T) {
	b := newBench(t, conntrack.Protect{})
	cttest.Fill(t, b.ns, 10, like(cttest.Unreplied(), 300, "192.0.2.101"))
	b.k.watches = map[uint32]*watch{}
	for range 2 {
		out := b.k.Apply(t.Context(), "", deletion(10))
		if !out.OK || out.Changed != 0 || out.Entries.Eligibility[policy.SparedIdleUnknown] != 10 {
			t.Errorf("outcome %+v", out)
		}
		// Enough for the others, not for SYN_SENT.
		b.now = b.now.Add(14 * time.Second)
	}
}

// TestADeletionKeepsTheHashFromBeingResized until it has ended.
func TestADeletionKeepsTheHashFromBeingResized(t *testing.T) {
	b := newBench(t, conntrack.Protect{})
	counted := 0
	b.k.sysctls.fault = func(step string) error {
		if step != "read "+conntrack.SysctlCount {
			return nil
		}
		if counted++; counted == 2 && b.k.table.TryLock() {
			b.k.table.Unlock()
			return errors.New("a resize could have begun")
		}
		return nil
	}
	if out := b.k.Apply(t.Context(), "", deletion(10)); !out.OK || counted != 2 {
		t.Errorf("counted %d times: %+v", counted, out)
	}
}

// TestAShortenedTimeoutMakesNobodyOld: the entries of before have more left
// than the timeout that stands there now.
func TestAShortenedTimeoutMakesNobodyOld(t *testing.T) {
	b := newBench(t, conntrack.Protect{})
	cttest.Fill(t, b.ns, 10, like(cttest.Unreplied(), 595, "192.0.2.101")) // of before, young
	cttest.Fill(t, b.ns, 10, like(cttest.Unreplied(), 58, "192.0.2.102"))  // of after, young
	must(t, b.k, shorten(conntrack.UDP, 600, 60))
	b.now = b.now.Add(2 * time.Second)
	b.look(t)
	out := b.k.Apply(t.Context(), "", deletion(20))
	if !out.OK || out.Changed != 0 || out.Entries.Eligibility[policy.SparedTooYoung] != 20 {
		t.Errorf("after shortening: %+v", out)
	}
	must(t, b.k, lengthen(conntrack.UDP, 60, 600))
	b.now = b.now.Add(2 * time.Second)
	b.look(t)
	out = b.k.Apply(t.Context(), "", deletion(20))
	if !out.OK || out.Changed != 0 || out.Entries.Eligibility[policy.SparedTooYoung] != 20 {
		t.Errorf("after giving it back: %+v", out)
	}
}

func TestAgeingLeavesTheLiveAlone(t *testing.T) {
	b := newBench(t, conntrack.Protect{Ports: []conntrack.PortRange{{First: 2222, Last: 2222}}})
	closing := []conntrack.TCPState{conntrack.StateFinWait, conntrack.StateLastAck, conntrack.StateTimeWait, conntrack.StateClose}
	for _, state := range closing {
		e := cttest.TCP(state)
		e.Timeout = 500
		cttest.Fill(t, b.ns, 100, e)
	}
	live := []conntrack.Entry{
		like(cttest.TCP(conntrack.StateEstablished), 500, "192.0.2.102"),
		like(cttest.TCP(conntrack.StateCloseWait), 500, "192.0.2.103"),
		like(cttest.Assured(), 500, "192.0.2.104"),
	}
	protected := like(cttest.TCP(conntrack.StateTimeWait), 500, "192.0.2.105")
	protected.Orig.DstPort = 2222
	for _, e := range append(live, protected) {
		cttest.Fill(t, b.ns, 100, e)
	}
	out := b.k.Apply(t.Context(), "", policy.Action{
		Type: policy.AgeEntries, Class: policy.Closing, Cap: 1000, Remaining: 30, Reason: policy.ReasonChurn,
	})
	for _, e := range b.entries(t) {
		aged := e.Timeout <= 30
		is := slices.Contains(closing, e.State) && e.Orig.DstPort != 2222
		if aged != is {
			t.Fatalf("aged: %t, should be: %t: %+v", aged, is, e)
		}
	}
	want := policy.Eligibilities{policy.Eligible: 400, policy.SparedWrongClass: 300, policy.SparedProtected: 100}
	if !out.OK || out.Changed != 400 || out.Entries.Eligibility != want {
		t.Errorf("outcome %+v, counts %v", out, out.Entries)
	}
}

// TestATimeoutIsShortenedAndPutBack in a namespace that is not the own one.
func TestATimeoutIsShortenedAndPutBack(t *testing.T) {
	ns := cttest.NewNS(t)
	cttest.Count(t, ns)
	find := func(inode uint32) (*netns.NS, error) {
		if inode != ns.Inode() {
			return nil, os.ErrNotExist
		}
		return ns, nil
	}
	k, err := Open(Options{Dir: stateDir(t), Find: find})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	own, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	hosts := timeoutOf(t, own, conntrack.TCPTimeWait)
	act := shorten(conntrack.TCPTimeWait, 120, 30)
	act.NetNS = ns.Inode()
	must(t, k, act)
	if got := timeoutOf(t, ns, conntrack.TCPTimeWait); got != 30 {
		t.Errorf("the namespace has %d", got)
	}
	if got := timeoutOf(t, own, conntrack.TCPTimeWait); got != hosts {
		t.Errorf("the host has %d, had %d", got, hosts)
	}
	if can := k.Can(ns.Inode()); !can.TimeoutsWritable || !can.Entries {
		t.Errorf("can %+v", can)
	}
	commands := k.RevertCommands()
	if len(commands) != 1 || !strings.HasPrefix(commands[0], "nsenter --net=/proc/") {
		t.Fatalf("commands %q", commands)
	}
	outcomes, err := k.Revert(t.Context(), false)
	if err != nil || len(outcomes) != 1 || !outcomes[0].OK || outcomes[0].Action.NetNS != ns.Inode() {
		t.Errorf("reverted %+v, %v", outcomes, err)
	}
	if got := timeoutOf(t, ns, conntrack.TCPTimeWait); got != 120 {
		t.Errorf("the namespace has %d after the revert", got)
	}
	t.Run("by the printed command", func(t *testing.T) {
		for _, program := range []string{"sh", "nsenter", "sysctl"} {
			if _, err := exec.LookPath(program); err != nil {
				t.Skip("needs the program to run the printed command: ", err)
			}
		}
		must(t, k, act)
		if text, err := exec.Command("sh", "-c", commands[0]).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", commands[0], err, text)
		}
		if got := timeoutOf(t, ns, conntrack.TCPTimeWait); got != 120 {
			t.Errorf("the namespace has %d after %s", got, commands[0])
		}
	})
}

// TestMaxIsReadOnlyInANamespace: the kernel refuses, and the ledger is as
// before.
func TestMaxIsReadOnlyInANamespace(t *testing.T) {
	b := newBench(t, conntrack.Protect{})
	now, err := b.k.read(b.ns, conntrack.SysctlMax)
	if err != nil {
		t.Fatal(err)
	}
	out := policy.Outcome{Action: raise(now, now+1)}
	if err := b.k.apply(t.Context(), "", &out); !errors.Is(err, ErrNotPermitted) || !errors.Is(err, os.ErrPermission) {
		t.Errorf("error %v, want ErrNotPermitted", err)
	}
	if l := b.k.Ledger(); len(l.Entries)+len(l.History) != 0 {
		t.Errorf("ledger %+v", l)
	}
	if can := b.k.Can(0); can.MaxWritable || can.BucketsWritable || !can.TimeoutsWritable {
		t.Errorf("can %+v", can)
	}
}

// TestProcSysIsReadOnly in a sandbox as systemd and containers make it.
func TestProcSysIsReadOnly(t *testing.T) {
	ns := cttest.NewNS(t)
	cttest.Count(t, ns)
	root := t.TempDir()
	sys := filepath.Join(root, "sys")
	if err := os.Mkdir(sys, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/proc/sys", sys, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(sys, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("", sys, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	k, err := Open(Options{Dir: stateDir(t), Own: ns, Proc: root})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	out := policy.Outcome{Action: shorten(conntrack.UDP, 30, 20)}
	if err := k.apply(t.Context(), "", &out); !errors.Is(err, ErrReadOnly) {
		t.Errorf("error %v, want ErrReadOnly", err)
	}
	if l := k.Ledger(); len(l.Entries)+len(l.History) != 0 {
		t.Errorf("ledger %+v", l)
	}
	if can := k.Can(0); can.TimeoutsWritable {
		t.Errorf("can %+v", can)
	}
}

// TestTheHostsValues raises max and the hash of this host by the least, and
// puts them back.
func TestTheHostsValues(t *testing.T) {
	if os.Getenv("CTWARDEN_TEST_HOST") != "1" {
		t.Skip("needs CTWARDEN_TEST_HOST=1 to write the host's nf_conntrack_max")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to write the host's nf_conntrack_max")
	}
	k, err := Open(Options{Dir: stateDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	originals := map[string]uint64{}
	for _, name := range []string{conntrack.SysctlMax, conntrack.SysctlBuckets} {
		v, err := k.read(k.options.Own, name)
		if errors.Is(err, ErrNoConntrack) {
			t.Skip("needs the nf_conntrack module: ", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		originals[name] = v
	}
	must(t, k, raise(originals[conntrack.SysctlMax], originals[conntrack.SysctlMax]+1000))
	// One more than a page: the kernel rounds up.
	out := must(t, k, resize(originals[conntrack.SysctlBuckets], originals[conntrack.SysctlBuckets]+1))
	if out.After != originals[conntrack.SysctlBuckets]+pageBuckets() {
		t.Errorf("%d buckets became %d", out.Action.To, out.After)
	}
	outcomes, err := k.Revert(t.Context(), true)
	if err != nil || len(outcomes) != 2 {
		t.Errorf("reverted %+v, %v", outcomes, err)
	}
	for name, want := range originals {
		if got, err := k.read(k.options.Own, name); err != nil || got != want {
			t.Errorf("%s = %d, was %d, %v", name, got, want, err)
		}
	}
}
