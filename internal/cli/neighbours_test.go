package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// A street has many namespaces that only a mount keeps, as those of ip netns.
type street struct {
	dir    string
	inodes []uint32
}

// name is how the i-th is called, unlike any other namespace of the machine.
func (s *street) name(i int) string { return fmt.Sprintf("street%d-%d", os.Getpid(), i) }

func (s *street) path(i int) string { return filepath.Join(s.dir, s.name(i)) }

// names are those of the street: what else the machine has is not watched, let
// alone acted in.
func (s *street) names(act bool) config.NetNS {
	return config.NetNS{Act: act, Include: []string{fmt.Sprintf("street%d-*", os.Getpid())}}
}

// newStreet makes n namespaces; furnish may put something into each.
func newStreet(t *testing.T, n int, furnish func(i int, ns *netns.NS)) *street {
	t.Helper()
	s := &street{dir: t.TempDir()}
	for i := range n {
		ns := cttest.NewNS(t)
		furnish(i, ns)
		if err := os.WriteFile(s.path(i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		source := fmt.Sprintf("/proc/self/fd/%d", ns.File().Fd())
		if err := unix.Mount(source, s.path(i), "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(s.path(i), unix.MNT_DETACH) })
		s.inodes = append(s.inodes, ns.Inode())
		if err := ns.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// strangers counts the namespaces elsewhere on the machine that hold as much.
func (s *street) strangers(p *post, much uint64) uint32 {
	n := uint32(0)
	for _, ns := range p.others.roster.All() {
		if ns.Entries >= much && !slices.Contains(s.inodes, ns.Inode) {
			n++
		}
	}
	return n
}

// count returns how many entries each namespace has.
func (s *street) count(t *testing.T) []uint64 {
	t.Helper()
	var all []uint64
	for i := range s.inodes {
		ns, err := netns.Open(s.path(i))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, cttest.Count(t, ns))
		if err := ns.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// lowLimits are those of a host that suffers when a table is a fifth full:
// the test need not fill it. Nothing of the whole host is written.
func lowLimits() policy.Limits {
	l := policy.Defaults()
	l.NoHostWide = true
	l.Raise.Ceiling = 0
	l.Levels.ElevatedLeave, l.Levels.ElevatedEnter, l.Levels.ElevatedSoonFill = 400, 1_200, 1_200
	l.Levels.HighLeave, l.Levels.HighEnter = 1_100, 1_400
	l.Levels.ExhaustedLeave, l.Levels.ExhaustedEnter, l.Levels.NearMax = 1_300, 1_600, 1_500
	l.Verify.Settle = time.Second
	return l
}

// watchStreet stands a post that watches the host and its neighbours.
func watchStreet(t *testing.T, limits policy.Limits, names config.NetNS) *post {
	t.Helper()
	own, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log, err := audit.Open(filepath.Join(dir, "audit.jsonl"), audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := &post{
		limits: limits, look: watcher.NewSampler(own, false), others: newNeighbours(own, names),
		say: voiceLog(io.Discard), log: log,
	}
	o := remediate.Options{Dir: dir}
	if names.Act {
		o.Find = p.others.open
	}
	if p.kernel, _, err = openKernel(t.Context(), o, own); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := p.kernel.Revert(context.Background(), true)
		if err := errors.Join(err, p.kernel.Close(), p.others.close(), p.look.Close(), log.Close(), own.Close()); err != nil {
			t.Error(err)
		}
	})
	p.man(nil)
	return p
}

// idle is an entry that has been idle for a while: the timeout of UDP is 30 s.
func idle() conntrack.Entry {
	e := cttest.Unreplied()
	e.Timeout = 28
	return e
}

// await runs the post until done says so, or fails.
func awaitPost(t *testing.T, p *post, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); p.run(ctx) }()
	defer func() { cancel(); <-ended }()
	for begun := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatalf("%s: waited for a minute; status: %s", what, p.summary())
		}
	}
}

// summary is the status in a few words.
func (p *post) summary() string {
	text := ""
	for _, table := range p.loop.Status().Tables {
		text += fmt.Sprintf("%s: %s, held %s %s; ", table.Name, table.Text, table.Held, table.Ladder)
	}
	return text
}

func TestTheFullOneOfTwoHundredIsServedAndTheOthersKeepEveryEntry(t *testing.T) {
	needRoot(t)
	fill := int(hostMax(t) / 5)
	if fill > 200_000 {
		t.Skipf("needs an nf_conntrack_max below 1,000,000 to fill a fifth of a table, not %d", hostMax(t))
	}
	cttest.NeedRoom(t, fill+200*20)
	const full = 91
	s := newStreet(t, 200, func(i int, ns *netns.NS) {
		cttest.Fill(t, ns, 10, cttest.Assured())
		if i == full {
			cttest.Fill(t, ns, fill, idle())
			return
		}
		cttest.Fill(t, ns, 10, idle())
	})
	limits := lowLimits()
	p := watchStreet(t, limits, s.names(true))
	var mu sync.Mutex
	var acts []policy.Action
	apply := make(chan struct{}, 1)
	p.told = func(r audit.Record) {
		if r.Kind != audit.KindOutcome {
			return
		}
		var body struct {
			Action policy.Action `json:"action"`
			OK     bool          `json:"ok"`
		}
		if err := r.Decode(&body); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		acts = append(acts, body.Action)
		if body.Action.Type == policy.DeleteEntries && body.OK {
			select {
			case apply <- struct{}{}:
			default:
			}
		}
	}
	awaitPost(t, p, "entries to be deleted", func() bool { return len(apply) > 0 })
	status := p.loop.Status()
	if len(status.Tables) != 2 || status.Tables[1].Name != s.path(full) || status.Tables[1].NetNS != s.inodes[full] {
		t.Errorf("watches %s, want %s", p.summary(), s.path(full))
	}
	for _, act := range acts {
		if !act.Would && act.NetNS != s.inodes[full] {
			t.Errorf("did %s in netns %d, want only netns %d", act.Type, act.NetNS, s.inodes[full])
		}
	}
	host, there := status.Tables[0].Assessment.Observation.Host, status.Tables[1].Assessment.Observation.Table
	if host.Entries < there.Entries+199*10 || host.Tables < 1 || host.Tables > 1+s.strangers(p, hostMax(t)/10) {
		t.Errorf("the budget is of %+v, want the %d entries of the full one and those of the others, in one table that could fill",
			host, there.Entries)
	}
	counts := s.count(t)
	if counts[full] >= uint64(fill) {
		t.Errorf("the full one still has %d entries", counts[full])
	}
	// The others' idle entries live for 28 s and may expire; assured ones stay.
	for i, n := range counts {
		if i != full && n < 10 {
			t.Errorf("namespace %d has lost entries: %d are left", i, n)
		}
	}
	r := p.others.report()
	isFull := func(ns namedNamespace) bool { return ns.Inode == s.inodes[full] && ns.Name == s.path(full) }
	if r.Namespaces < 200 || r.Watched != 1 || r.Most < counts[full] || !slices.ContainsFunc(r.Largest, isFull) {
		t.Errorf("status says %+v", r)
	}
	t.Logf("swept %d namespaces in %s", r.Namespaces, time.Duration(r.SweepNS))
}

func TestWithoutLeaveNothingIsDoneInANeighbour(t *testing.T) {
	needRoot(t)
	fill := int(hostMax(t) / 5)
	cttest.NeedRoom(t, fill)
	s := newStreet(t, 2, func(i int, ns *netns.NS) {
		if i == 1 {
			cttest.Fill(t, ns, fill, cttest.Assured())
		}
	})
	p := watchStreet(t, lowLimits(), s.names(false))
	awaitPost(t, p, "the neighbour to be looked into", func() bool {
		tables := p.loop.Status().Tables
		return len(tables) == 2 && tables[1].Assessment.Observation.Census.Seen > 0
	})
	table := p.loop.Status().Tables[1]
	if k := table.Assessment.Observation.Kernel; k.TimeoutsWritable || k.Entries {
		t.Errorf("may act there: %+v", k)
	}
	if table.Name != s.path(1) || table.Incident == "" {
		t.Errorf("status %s", p.summary())
	}
	if n := s.count(t)[1]; n != uint64(fill) {
		t.Errorf("%d entries are left of %d", n, fill)
	}
}

func TestPatternsChooseWhatIsWatched(t *testing.T) {
	needRoot(t)
	fill := int(hostMax(t) / 9)
	cttest.NeedRoom(t, 3*fill)
	s := newStreet(t, 3, func(_ int, ns *netns.NS) { cttest.Fill(t, ns, fill, cttest.Assured()) })
	p := watchStreet(t, lowLimits(), config.NetNS{Include: []string{s.name(0), s.name(1)}, Exclude: []string{s.name(1)}})
	awaitPost(t, p, "two tables", func() bool { return len(p.loop.Status().Tables) >= 2 })
	tables := p.loop.Status().Tables
	if len(tables) != 2 || tables[1].NetNS != s.inodes[0] {
		t.Errorf("watches %s", p.summary())
	}
	if host := tables[0].Assessment.Observation.Host; host.Tables < 3 || host.Entries < uint64(3*fill) {
		t.Errorf("the budget is of %+v, want all three", host)
	}
}

// TestANamespaceThatVanishesDuringTheActIsACleanEnd takes the mount away while
// entries are deleted.
func TestANamespaceThatVanishesDuringTheActIsACleanEnd(t *testing.T) {
	needRoot(t)
	fill := int(hostMax(t) / 5)
	cttest.NeedRoom(t, fill)
	s := newStreet(t, 1, func(_ int, ns *netns.NS) { cttest.Fill(t, ns, fill, idle()) })
	p := watchStreet(t, lowLimits(), s.names(true))
	if all, err := p.observe(t.Context()); err != nil || len(all) != 2 {
		t.Fatalf("%d observations, %v", len(all), err)
	}
	act := policy.Action{
		Type: policy.DeleteEntries, Class: policy.Unreplied, NetNS: s.inodes[0], Cap: uint64(fill),
		MinIdle: time.Second, SynSentIdle: time.Second,
	}
	gone := make(chan error)
	go func() { gone <- unix.Unmount(s.path(0), unix.MNT_DETACH) }()
	out := p.kernel.Apply(t.Context(), "", act)
	if err := <-gone; err != nil {
		t.Fatal(err)
	}
	if !out.OK {
		t.Errorf("outcome %+v", out)
	}
	p.others.alarmed.Store(true)
	all, err := p.observe(t.Context())
	if err != nil || len(all) != 1 {
		t.Errorf("%d observations of what is gone, %v", len(all), err)
	}
	out = p.kernel.Apply(t.Context(), "", act)
	if out.OK || out.Error == "" {
		t.Errorf("acted in a namespace that is gone: %+v", out)
	}
	if name := p.name(s.inodes[0]); name != s.path(0) {
		t.Errorf("it was %q, want %q", name, s.path(0))
	}
	if slices.ContainsFunc(p.others.roster.All(), func(n watcher.Namespace) bool { return n.Inode == s.inodes[0] }) {
		t.Error("it is still on the roster")
	}
}
