package watcher_test

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/watcher"
)

// Capability bits, from include/uapi/linux/capability.h.
const (
	capNetAdmin = 12
	capSysAdmin = 21
	capSyslog   = 34
)

func capable(tb testing.TB, bit int) bool {
	tb.Helper()
	var sets [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &sets[0]); err != nil {
		tb.Fatal(err)
	}
	return sets[bit/32].Effective&(1<<(bit%32)) != 0
}

// mayTouchHost reports whether the test may write what belongs to the whole
// host: in a machine made for tests, or where somebody has said so.
func mayTouchHost() bool {
	return os.Getenv("CTWARDEN_TEST_HOST") == "1" || inVM()
}

// inVM reports whether the machine was made for this test alone.
func inVM() bool { return os.Getenv("CTWARDEN_TEST_VM") == "1" }

func newNetNS(tb testing.TB) *netns.NS {
	tb.Helper()
	ns, err := netns.New()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := ns.Close(); err != nil {
			tb.Error(err)
		}
	})
	return ns
}

// track turns connection tracking on in a namespace: the kernel registers its
// hooks only where a rule looks at the state of a connection.
func track(tb testing.TB, ns *netns.NS) {
	tb.Helper()
	err := ns.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "watcher_test"})
		chain := c.AddChain(&nftables.Chain{
			Table: table, Name: "output", Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
		})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Counter{},
		}})
		return c.Flush()
	})
	if err != nil {
		tb.Fatalf("turn tracking on: %v", err)
	}
}

// flood sends one UDP packet to each of n ports of the loopback interface and
// returns how many were refused: the kernel tells a local sender of a dropped
// packet by EPERM (nf_hook_slow in net/netfilter/core.c).
func flood(tb testing.TB, ns *netns.NS, n int) (refused int) {
	tb.Helper()
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		for i := range n {
			to := &unix.SockaddrInet4{Port: 1024 + i%60000, Addr: [4]byte{127, 0, 1, byte(i / 60000)}}
			err := unix.Sendto(fd, []byte{0}, 0, to)
			if errors.Is(err, unix.EPERM) {
				refused++
				continue
			}
			if err != nil && !errors.Is(err, unix.ECONNREFUSED) {
				return errors.Join(err, unix.Close(fd))
			}
		}
		return unix.Close(fd)
	})
	if err != nil {
		tb.Fatalf("send packets: %v", err)
	}
	return refused
}

func needNetNS(tb testing.TB) {
	tb.Helper()
	if !capable(tb, capSysAdmin) || !capable(tb, capNetAdmin) {
		tb.Skip("needs CAP_SYS_ADMIN and CAP_NET_ADMIN to make a network namespace with a rule in it")
	}
}

func TestTableReaderReadsARealNamespace(t *testing.T) {
	needNetNS(t)
	ns, neighbour := newNetNS(t), newNetNS(t)
	track(t, ns)
	g, other := &watcher.TableReader{NetNS: ns}, &watcher.TableReader{NetNS: neighbour}
	t.Cleanup(func() {
		if err := errors.Join(g.Close(), other.Close()); err != nil {
			t.Error(err)
		}
	})
	if s := read(t, g); s.Table.Entries != 0 || s.Table.NetNS != ns.Inode() {
		t.Fatalf("a fresh namespace reads as %+v", s)
	}
	const flows = 300
	if refused := flood(t, ns, flows); refused != 0 {
		t.Fatalf("%d packets refused, want none", refused)
	}
	s := read(t, g)
	if s.Table.Entries != flows {
		t.Errorf("%d entries after %d flows", s.Table.Entries, flows)
	}
	if s.Table.Max == 0 || s.Table.Buckets == 0 {
		t.Errorf("max and buckets are missing: %+v", s)
	}
	if s.CountersFrom != watcher.CountersProcfs && !errors.Is(s.CountersErr, fs.ErrNotExist) {
		t.Errorf("counters: %q, %v, want procfs, or the reason that this kernel has none", s.CountersFrom, s.CountersErr)
	}
	if got := read(t, other).Table; got.Entries != 0 || got.NetNS != neighbour.Inode() {
		t.Errorf("the neighbour reads as %+v, want no entries", got)
	}
	timeouts, err := g.Timeouts()
	if err != nil {
		t.Fatal(err)
	}
	for timeout, want := range map[conntrack.Timeout]uint32{
		conntrack.TCPEstablished: 432000, conntrack.TCPTimeWait: 120, conntrack.UDP: 30, conntrack.UDPStream: 120, conntrack.GREStream: 180,
	} {
		if timeouts[timeout] != want {
			t.Errorf("%s is %d in a fresh namespace, want the kernel's %d", timeout, timeouts[timeout], want)
		}
	}
	access, err := g.Access()
	if err != nil {
		t.Fatal(err)
	}
	if want := (watcher.Access{Timeouts: !access.ReadOnlyMount, ReadOnlyMount: access.ReadOnlyMount}); access != want {
		t.Errorf("Access to a namespace of one's own is %+v, want %+v", access, want)
	}
}

func TestTableReaderReadsTheHost(t *testing.T) {
	g := &watcher.TableReader{}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	s := needTable(t, g)
	if s.Table.Buckets == 0 || s.Table.NetNS != 0 {
		t.Errorf("the host reads as %+v, want buckets and no namespace", s)
	}
	if _, err := g.Access(); err != nil {
		t.Error(err)
	}
	if m, err := watcher.ReadMemory(""); err != nil || m.Total == 0 || m.Available > m.Total {
		t.Errorf("ReadMemory = %+v, %v", m, err)
	}
	size := watcher.ReadEntrySize("")
	if size.Bytes < 256 || os.Geteuid() == 0 && size.Assumed {
		t.Errorf("ReadEntrySize = %+v, want it measured as root, and 256 bytes or more", size)
	}
}

// needTable skips a test of a table where there is none: what else keeps it
// from being read fails it.
func needTable(tb testing.TB, g *watcher.TableReader) watcher.Sample {
	tb.Helper()
	s, err := g.Read()
	if errors.Is(err, watcher.ErrNoTable) {
		tb.Skip("needs the module nf_conntrack: it is not loaded")
	}
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestTableReaderIsCheap(t *testing.T) {
	g := &watcher.TableReader{}
	needTable(t, g)
	if n := testing.AllocsPerRun(100, func() { read(t, g) }); n != 0 {
		t.Errorf("one reading allocates %v times, want 0", n)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

func BenchmarkTableReaderRead(b *testing.B) {
	g := &watcher.TableReader{}
	needTable(b, g)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Read(); err != nil {
			b.Fatal(err)
		}
	}
	_ = g.Close()
}

func BenchmarkTableReaderTimeouts(b *testing.B) {
	g := &watcher.TableReader{}
	needTable(b, g)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Timeouts(); err != nil {
			b.Fatal(err)
		}
	}
}
