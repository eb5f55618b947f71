package cli

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
)

// TestADesertedNamespaceIsLetGo takes the mount of a watched one away, without a
// word of the kernel about it.
func TestADesertedNamespaceIsLetGo(t *testing.T) {
	needRoot(t)
	fill := int(hostMax(t) / 9)
	cttest.NeedRoom(t, fill)
	s := newStreet(t, 1, func(_ int, ns *netns.NS) { cttest.Fill(t, ns, fill, cttest.Assured()) })
	p := watchStreet(t, lowLimits(), s.names(false))
	own, err := p.look.Observe()
	if err != nil {
		t.Fatal(err)
	}
	observe := func(after time.Duration) int {
		t.Helper()
		later := own
		later.Now += policy.Moment(after)
		return len(p.others.observe(t.Context(), &later))
	}
	if n := observe(0); n != 1 {
		t.Fatalf("%d are watched, want 1", n)
	}
	swept := p.others.swept
	p.others.every = time.Hour // as with thousands of namespaces
	if n := observe(watchful); n != 1 || p.others.swept != swept {
		t.Errorf("%d are watched after a while, swept again: %t", n, p.others.swept != swept)
	}
	if err := unix.Unmount(s.path(0), unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if n := observe(2*watchful - 1); n != 1 {
		t.Errorf("%d are watched before it was looked", n)
	}
	if n := observe(2 * watchful); n != 0 || p.others.find(s.inodes[0]) != nil {
		t.Errorf("%d are watched when it is deserted", n)
	}
}

func TestALineAboutANamespaceIsAnAlarmOnlyWhereItIsNews(t *testing.T) {
	needRoot(t)
	fill := int(hostMax(t) / 9)
	cttest.NeedRoom(t, fill)
	s := newStreet(t, 3, func(i int, ns *netns.NS) {
		if i == 0 {
			cttest.Fill(t, ns, fill, cttest.Assured())
		}
	})
	p := watchStreet(t, lowLimits(), config.NetNS{Include: []string{s.name(0), s.name(1)}})
	if all, err := p.observe(t.Context()); err != nil || len(all) != 2 {
		t.Fatalf("%d observations, %v", len(all), err)
	}
	for _, c := range []struct {
		name  string
		inode uint32
		want  bool
	}{
		{"one that is watched", s.inodes[0], false}, {"one that holds little", s.inodes[1], true},
		{"one that is not to be watched", s.inodes[2], false}, {"one that nobody knows", 1, true}, {"any", 0, true},
		{"the own one", p.look.NetNS().Inode(), false},
	} {
		p.others.alarmed.Store(false)
		p.others.alarm(c.inode)
		if got := p.others.alarmed.Load(); got != c.want {
			t.Errorf("a line about %s: alarm %t, want %t", c.name, got, c.want)
		}
	}
}

func TestAlarmsDoNotTakeTheDaemonsTime(t *testing.T) {
	const swept = policy.Moment(time.Hour)
	own := policy.Observation{Now: swept}
	own.Table.Max = 1000
	n := neighbours{swept: swept, took: 20 * time.Millisecond, every: time.Minute}
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
			n.alarmed.Store(c.alarmed)
			o := own
			o.Now += policy.Moment(c.after)
			o.Table.Entries = c.entries
			if got := n.due(&o); got != c.want {
				t.Errorf("due: %t, want %t", got, c.want)
			}
		})
	}
}
