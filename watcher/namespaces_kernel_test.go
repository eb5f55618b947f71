package watcher

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
)

// watchMounted returns a Sampler of the host's table and the namespaces that the
// patterns choose, which nobody acts in.
func watchMounted(t *testing.T, patterns Patterns) (*Sampler, *Namespaces) {
	t.Helper()
	own, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	sampler := NewSampler(own, false)
	all := NewNamespaces(own, patterns, nil, func(uint32) bool { return false })
	t.Cleanup(func() {
		if err := errors.Join(all.Close(), sampler.Close(), own.Close()); err != nil {
			t.Error(err)
		}
	})
	return sampler, all
}

// TestAnUnusedNamespaceIsClosed takes the mount of a watched one away, without a
// word of the kernel about it.
func TestAnUnusedNamespaceIsClosed(t *testing.T) {
	cttest.NeedRoot(t)
	fill := int(cttest.HostMax(t) / 9)
	cttest.NeedRoom(t, fill)
	s := cttest.Mount(t, 1, func(_ int, ns *netns.NS) { cttest.Fill(t, ns, fill, cttest.Assured()) })
	sampler, all := watchMounted(t, Patterns{Include: []string{s.Pattern()}})
	own, err := sampler.Observe()
	if err != nil {
		t.Fatal(err)
	}
	observe := func(after time.Duration) int {
		t.Helper()
		later := own
		later.Now += policy.BootTime(after)
		return len(all.Observe(&later))
	}
	if n := observe(0); n != 1 {
		t.Fatalf("%d are watched, want 1", n)
	}
	swept := all.swept
	all.sweepEvery = time.Hour // as with thousands of namespaces
	if n := observe(policy.HolderCheckInterval); n != 1 || all.swept != swept {
		t.Errorf("%d are watched after a while, swept again: %t", n, all.swept != swept)
	}
	if err := unix.Unmount(s.Path(0), unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if n := observe(2*policy.HolderCheckInterval - 1); n != 1 {
		t.Errorf("%d are watched before the first sweep", n)
	}
	if n := observe(2 * policy.HolderCheckInterval); n != 0 || all.find(s.Inodes[0]) != nil {
		t.Errorf("%d are watched when it is deserted", n)
	}
}

func TestSweepSoonIgnoresWatchedAndExcludedNamespaces(t *testing.T) {
	cttest.NeedRoot(t)
	fill := int(cttest.HostMax(t) / 9)
	cttest.NeedRoom(t, fill)
	s := cttest.Mount(t, 3, func(i int, ns *netns.NS) {
		if i == 0 {
			cttest.Fill(t, ns, fill, cttest.Assured())
		}
	})
	sampler, all := watchMounted(t, Patterns{Include: []string{s.Name(0), s.Name(1)}})
	own, err := sampler.Observe()
	if err != nil {
		t.Fatal(err)
	}
	if watched := all.Observe(&own); len(watched) != 1 {
		t.Fatalf("%d observations", len(watched))
	}
	for _, c := range []struct {
		name  string
		inode uint32
		want  bool
	}{
		{"one that is watched", s.Inodes[0], false}, {"one that holds little", s.Inodes[1], true},
		{"one that is not to be watched", s.Inodes[2], false}, {"an unknown one", 1, true}, {"any", 0, true},
		{"the own one", sampler.NetNS().Inode(), false},
	} {
		all.sweepSoon.Store(false)
		all.SweepSoon(c.inode)
		if got := all.sweepSoon.Load(); got != c.want {
			t.Errorf("a line about %s: alarm %t, want %t", c.name, got, c.want)
		}
	}
}

func TestRequestedSweepsAreRateLimited(t *testing.T) {
	const swept = policy.BootTime(time.Hour)
	own := policy.Observation{Now: swept}
	own.Table.Max = 1000
	n := Namespaces{swept: swept, sweepTook: 20 * time.Millisecond, sweepEvery: time.Minute}
	for _, c := range []struct {
		name    string
		alarmed bool
		entries uint64
		after   time.Duration
		want    bool
	}{
		{"nothing has happened", false, 0, 30 * time.Second, false},
		{"it is time", false, 0, time.Minute, true},
		{"an alarm after a while", true, 0, 2 * time.Second, true},
		{"an alarm right after a sweep", true, 0, 2*time.Second - 1, false},
		{"an alarm that the own table explains", true, 900, 30 * time.Second, false},
		{"an alarm that it does not", true, 899, 30 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n.sweepSoon.Store(c.alarmed)
			o := own
			o.Now += policy.BootTime(c.after)
			o.Table.Entries = c.entries
			if got := n.due(&o); got != c.want {
				t.Errorf("due: %t, want %t", got, c.want)
			}
		})
	}
}
