package watcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
)

// fakeMounts returns the namespaces of a host that has namespaces with the
// numbers 1 to n, which only a mount keeps and nobody may enter.
func fakeMounts(t *testing.T, n int) *Namespaces {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "proc/self"), 0o700); err != nil {
		t.Fatal(err)
	}
	var mounts strings.Builder
	for i := range n {
		fmt.Fprintf(&mounts, "245 30 0:4 net:[%d] /run/netns/n%d rw shared:1 - nsfs nsfs rw\n", i+1, i+1)
	}
	if err := os.WriteFile(filepath.Join(root, "proc/self/mountinfo"), []byte(mounts.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	all := &Namespaces{
		known: Known{Root: root}, claimed: func(uint32) bool { return false },
	}
	if err := all.known.Search(); err != nil {
		t.Fatal(err)
	}
	return all
}

// sweepFound has a sweep find as many entries in each.
func (n *Namespaces) sweepFound(entries ...uint64) {
	n.sweep = Sweep{}
	for i, held := range entries {
		if w := n.find(uint32(i + 1)); w != nil {
			w.Entries = held
		}
		ns, _ := n.known.Lookup(uint32(i + 1))
		ns.Entries = held
		n.sweep.Full = append(n.sweep.Full, ns)
	}
	slices.SortStableFunc(n.sweep.Full, func(a, b Namespace) int { return int(b.Entries) - int(a.Entries) })
}

// TestTheFullestNamespacesAreWatched: as many as may be watched hold a
// tenth of max, all the time.
func TestTheFullestNamespacesAreWatched(t *testing.T) {
	n := fakeMounts(t, policy.MaxWatched+2)
	own := policy.Observation{Now: 1, Table: conntrack.Table{Max: 100_000}}
	held := slices.Repeat([]uint64{12_000}, policy.MaxWatched)
	choose := func() {
		n.sweepFound(held...)
		n.choose(&own)
	}
	choose()
	if len(n.watched) != policy.MaxWatched {
		t.Fatalf("%d are watched, want %d", len(n.watched), policy.MaxWatched)
	}
	held = append(held, 97_000)
	choose()
	if n.find(policy.MaxWatched+1) == nil || len(n.watched) != policy.MaxWatched {
		t.Errorf("of %d that are watched the full one is not: its table is left to itself", len(n.watched))
	}
	before := n.inodes()
	held = append(held, 23_000)
	choose()
	if after := n.inodes(); !slices.Equal(before, after) {
		t.Errorf("one that holds less than twice as much drove another out: %v, then %v", before, after)
	}
	held[policy.MaxWatched+1] = 98_000
	n.claimed = func(uint32) bool { return true }
	choose()
	if after := n.inodes(); !slices.Equal(before, after) {
		t.Errorf("driven out with values to be given back: %v, then %v", before, after)
	}
	n.claimed = func(inode uint32) bool { return inode != 5 }
	choose()
	if n.find(5) != nil || n.find(policy.MaxWatched+2) == nil {
		t.Errorf("the only one without a claim was not driven out: %v", n.inodes())
	}
}

func (n *Namespaces) inodes() []uint32 {
	var all []uint32
	for _, w := range n.watched {
		all = append(all, w.inode)
	}
	return all
}

// TestAFailedReadingKeepsANamespaceWatched: files run out, for example. What is not
// there any more is let go of.
func TestAFailedReadingKeepsANamespaceWatched(t *testing.T) {
	root := t.TempDir()
	mount := filepath.Join(root, "run/netns/a")
	if err := errors.Join(os.MkdirAll(filepath.Dir(mount), 0o700), os.MkdirAll(filepath.Join(root, "proc/self"), 0o700), os.WriteFile(mount, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if err := unix.Stat(mount, &stat); err != nil {
		t.Fatal(err)
	}
	inode := uint32(stat.Ino)
	if uint64(inode) != stat.Ino {
		t.Skipf("needs a file system with numbers of 32 bits below %s", root)
	}
	line := fmt.Sprintf("245 30 0:4 net:[%d] /run/netns/a rw shared:1 - nsfs nsfs rw\n", inode)
	if err := os.WriteFile(filepath.Join(root, "proc/self/mountinfo"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &Namespaces{known: Known{Root: root}, claimed: func(uint32) bool { return false }}
	if err := n.known.Search(); err != nil {
		t.Fatal(err)
	}
	own := policy.Observation{Now: 1, Table: conntrack.Table{Max: 100_000}}
	n.watch(inode, own.Now)
	n.update(nil, &own)
	if n.find(inode) == nil || !n.sweepSoon.Load() {
		t.Fatalf("it was let go of: %t; searched for: %t", n.find(inode) == nil, n.sweepSoon.Load())
	}
	n.sweepSoon.Store(false)
	n.update(nil, &own)
	if n.find(inode) == nil || n.sweepSoon.Load() {
		t.Errorf("it was let go of: %t; searched for at each turn: %t", n.find(inode) == nil, n.sweepSoon.Load())
	}
	n.update(map[uint32]uint64{inode: 5}, &own)
	n.update(nil, &own)
	if !n.sweepSoon.Load() {
		t.Error("a later failure was not searched for")
	}
	if err := os.Remove(mount); err != nil {
		t.Fatal(err)
	}
	n.update(nil, &own)
	if n.find(inode) != nil {
		t.Error("it is still watched when it is gone")
	}
}

// TestHostEntriesIncludeFreshReadings between two sweeps.
func TestHostEntriesIncludeFreshReadings(t *testing.T) {
	n := fakeMounts(t, 2)
	own := policy.Observation{Now: 1, Table: conntrack.Table{Max: 100_000}}
	n.watch(1, own.Now).Entries = 40
	n.sweep.Entries = 100
	for _, held := range []uint64{70, 10, 0, 1 << 40} {
		n.update(map[uint32]uint64{1: held}, &own)
		if want := 60 + held; n.sweep.Entries != want {
			t.Errorf("with %d in the one that is watched the sum is %d, want %d", held, n.sweep.Entries, want)
		}
	}
}

// TestAReplacedNamespaceIsClosed: its thread and its files are let go of.
func TestAReplacedNamespaceIsClosed(t *testing.T) {
	n := fakeMounts(t, 2)
	ns, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	w := n.watch(1, 1)
	w.sampler = NewSampler(ns, true)
	w.Entries = 10
	if n.makeRoom(19) {
		t.Error("driven out by one that holds less than twice as much")
	}
	if !n.makeRoom(20) || n.find(1) != nil {
		t.Error("not driven out by one that holds twice as much")
	}
	if err := ns.Do(func() error { return nil }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("its namespace is still open: %v", err)
	}
}
