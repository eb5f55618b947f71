package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// namespacePatterns are those of the row: what else the machine has is not watched, let
// alone acted in.
func namespacePatterns(s *cttest.Mounted, act bool) config.NetNS {
	return config.NetNS{Act: act, Include: []string{s.Pattern()}}
}

// fillUnwatched counts the namespaces elsewhere on the machine that hold as much.
func fillUnwatched(tb testing.TB, s *cttest.Mounted, own uint32, much uint64) uint32 {
	n := uint32(0)
	known := watcher.Known{Own: own}
	defer func() { _ = known.Close() }()
	if err := known.Search(); err != nil {
		tb.Fatal(err)
	}
	known.Sweep(1)
	for _, ns := range known.All() {
		if ns.Entries >= much && !slices.Contains(s.Inodes, ns.Inode) {
			n++
		}
	}
	return n
}

// lowLimits are those of a host that suffers when a table is a fifth full:
// the test need not fill it. Nothing of the whole host is written.
func lowLimits() policy.Limits {
	l := policy.Defaults()
	l.NoHostWide = true
	l.Raise.Ceiling = 0
	l.Levels.ElevatedLeave, l.Levels.ElevatedEnter, l.Levels.ElevatedForecastFill = 400, 1_200, 1_200
	l.Levels.HighLeave, l.Levels.HighEnter = 1_100, 1_400
	l.Levels.ExhaustedLeave, l.Levels.ExhaustedEnter, l.Levels.NearMax = 1_300, 1_600, 1_500
	l.Verify.Settle = time.Second
	return l
}

// watchNamespaces makes an agent that watches the host and the namespaces of the
// patterns.
func watchNamespaces(t *testing.T, limits policy.Limits, names config.NetNS) *Agent {
	t.Helper()
	own, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.NetNS = names
	return openAgent(t, Options{
		Own: own, Table: own, Namespaces: true, Config: &cfg, Remediate: remediate.Options{Dir: t.TempDir()},
	}, limits)
}

// idle is an entry that has been idle for a while: the timeout of UDP is 30 s.
func idle() conntrack.Entry {
	e := cttest.Unreplied()
	e.Timeout = 28
	return e
}

// await runs the agent until done says so, or fails.
func awaitAgent(t *testing.T, agent *Agent, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); agent.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	for begun := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatalf("%s: waited for a minute; status: %s", what, agent.summary())
		}
	}
}

// summary is the status in a few words.
func (a *Agent) summary() string {
	text := ""
	for _, table := range a.Status().Tables {
		text += fmt.Sprintf("%s: %s, held %s %s; ", table.Name, table.Text, table.Held, table.Ladder)
	}
	return text
}

func TestOnlyTheFullNamespaceOfManyIsChanged(t *testing.T) {
	cttest.NeedRoot(t)
	fill := int(cttest.HostMax(t) / 5)
	if fill > 200_000 {
		t.Skipf("needs an nf_conntrack_max below 1,000,000 to fill a fifth of a table, not %d", cttest.HostMax(t))
	}
	cttest.NeedRoom(t, fill+200*20)
	const full = 91
	s := cttest.Mount(t, 200, func(i int, ns *netns.NS) {
		cttest.Fill(t, ns, 10, cttest.Assured())
		if i == full {
			cttest.Fill(t, ns, fill, idle())
			return
		}
		cttest.Fill(t, ns, 10, idle())
	})
	limits := lowLimits()
	a := watchNamespaces(t, limits, namespacePatterns(s, true))
	var mu sync.Mutex
	var acts []policy.Action
	apply := make(chan struct{}, 1)
	a.onRecord = func(r audit.Record) {
		payload, err := r.Payload()
		if err != nil {
			t.Error(err)
		}
		body, ok := payload.(*record.Outcome)
		if !ok {
			return
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
	awaitAgent(t, a, "entries to be deleted", func() bool { return len(apply) > 0 })
	status := a.Status()
	if len(status.Tables) != 2 || status.Tables[1].Name != s.Path(full) || status.Tables[1].NetNS != s.Inodes[full] {
		t.Errorf("watches %s, want %s", a.summary(), s.Path(full))
	}
	for _, act := range acts {
		if !act.Would && act.NetNS != s.Inodes[full] {
			t.Errorf("did %s in netns %d, want only netns %d", act.Type, act.NetNS, s.Inodes[full])
		}
	}
	host, there := status.Tables[0].Assessment.Observation.Host, status.Tables[1].Assessment.Observation.Table
	if host.Entries < there.Entries+199*10 || host.Tables < 1 || host.Tables > 1+fillUnwatched(t, s, a.sampler.NetNS().Inode(), cttest.HostMax(t)/10) {
		t.Errorf("the budget is of %+v, want the %d entries of the full one and those of the others, in one table that could fill",
			host, there.Entries)
	}
	counts := s.Counts(t)
	if counts[full] >= uint64(fill) {
		t.Errorf("the full one still has %d entries", counts[full])
	}
	// The others' idle entries live for 28 s and may expire; assured ones stay.
	for i, n := range counts {
		if i != full && n < 10 {
			t.Errorf("namespace %d has lost entries: %d are left", i, n)
		}
	}
	r := a.namespaces.Report()
	isFull := func(ns watcher.NamedNamespace) bool { return ns.Inode == s.Inodes[full] && ns.Name == s.Path(full) }
	if r.Namespaces < 200 || r.Watched != 1 || r.Most < counts[full] || !slices.ContainsFunc(r.Largest, isFull) {
		t.Errorf("status says %+v", r)
	}
	t.Logf("swept %d namespaces in %s", r.Namespaces, time.Duration(r.SweepNS))
}

func TestNoActionInNamespaceWithoutPermission(t *testing.T) {
	cttest.NeedRoot(t)
	fill := int(cttest.HostMax(t) / 5)
	cttest.NeedRoom(t, fill)
	s := cttest.Mount(t, 2, func(i int, ns *netns.NS) {
		if i == 1 {
			cttest.Fill(t, ns, fill, cttest.Assured())
		}
	})
	a := watchNamespaces(t, lowLimits(), namespacePatterns(s, false))
	awaitAgent(t, a, "the neighbour to be looked into", func() bool {
		tables := a.Status().Tables
		return len(tables) == 2 && tables[1].Assessment.Observation.Census.Seen > 0
	})
	table := a.Status().Tables[1]
	if k := table.Assessment.Observation.Kernel; k.TimeoutsWritable || k.Entries {
		t.Errorf("may act there: %+v", k)
	}
	if table.Name != s.Path(1) || table.Incident == "" {
		t.Errorf("status %s", a.summary())
	}
	if n := s.Counts(t)[1]; n != uint64(fill) {
		t.Errorf("%d entries are left of %d", n, fill)
	}
}

func TestNamespacePatterns(t *testing.T) {
	cttest.NeedRoot(t)
	fill := int(cttest.HostMax(t) / 9)
	cttest.NeedRoom(t, 3*fill)
	s := cttest.Mount(t, 3, func(_ int, ns *netns.NS) { cttest.Fill(t, ns, fill, cttest.Assured()) })
	a := watchNamespaces(t, lowLimits(), config.NetNS{Include: []string{s.Name(0), s.Name(1)}, Exclude: []string{s.Name(1)}})
	awaitAgent(t, a, "two tables", func() bool { return len(a.Status().Tables) >= 2 })
	tables := a.Status().Tables
	if len(tables) != 2 || tables[1].NetNS != s.Inodes[0] {
		t.Errorf("watches %s", a.summary())
	}
	if host := tables[0].Assessment.Observation.Host; host.Tables < 3 || host.Entries < uint64(3*fill) {
		t.Errorf("the budget is of %+v, want all three", host)
	}
}

// TestNamespaceRemovedDuringAction takes the mount away while
// entries are deleted.
func TestNamespaceRemovedDuringAction(t *testing.T) {
	cttest.NeedRoot(t)
	fill := int(cttest.HostMax(t) / 5)
	cttest.NeedRoom(t, fill)
	s := cttest.Mount(t, 1, func(_ int, ns *netns.NS) { cttest.Fill(t, ns, fill, idle()) })
	a := watchNamespaces(t, lowLimits(), namespacePatterns(s, true))
	if all, err := a.observe(t.Context()); err != nil || len(all) != 2 {
		t.Fatalf("%d observations, %v", len(all), err)
	}
	act := policy.Action{
		Type: policy.DeleteEntries, Class: policy.Unreplied, NetNS: s.Inodes[0], Cap: uint64(fill),
		MinIdle: time.Second, SynSentIdle: time.Second,
	}
	gone := make(chan error)
	go func() { gone <- unix.Unmount(s.Path(0), unix.MNT_DETACH) }()
	out := a.kernel.Apply(t.Context(), "", act)
	if err := <-gone; err != nil {
		t.Fatal(err)
	}
	if !out.OK {
		t.Errorf("outcome %+v", out)
	}
	a.namespaces.SweepSoon(0)
	all, err := a.observe(t.Context())
	if err != nil || len(all) != 1 {
		t.Errorf("%d observations of what is gone, %v", len(all), err)
	}
	out = a.kernel.Apply(t.Context(), "", act)
	if out.OK || out.Error == "" {
		t.Errorf("acted in a namespace that is gone: %+v", out)
	}
	if name := a.name(s.Inodes[0]); name != s.Path(0) {
		t.Errorf("it was %q, want %q", name, s.Path(0))
	}
	if _, err := a.namespaces.Open(s.Inodes[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("opened again: %v", err)
	}
}
