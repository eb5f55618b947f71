package cttest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// Mounted is a row of network namespaces that only a mount keeps, as those of
// ip netns.
type Mounted struct {
	// Dir is where they are mounted, Inodes their numbers.
	Dir    string
	Inodes []uint32
}

// Name is the name of the i-th, unlike that of any other namespace of the
// machine.
func (m *Mounted) Name(i int) string { return fmt.Sprintf("row%d-%d", os.Getpid(), i) }

// Path is where the i-th is mounted.
func (m *Mounted) Path(i int) string { return filepath.Join(m.Dir, m.Name(i)) }

// Pattern matches the names of the row and no other namespace of the machine.
func (m *Mounted) Pattern() string { return fmt.Sprintf("row%d-*", os.Getpid()) }

// Mount makes n namespaces; furnish may put something into each. They are
// unmounted when the test ends.
func Mount(tb testing.TB, n int, furnish func(i int, ns *netns.NS)) *Mounted {
	tb.Helper()
	m := &Mounted{Dir: tb.TempDir()}
	for i := range n {
		ns := NewNS(tb)
		furnish(i, ns)
		if err := os.WriteFile(m.Path(i), nil, 0o600); err != nil {
			tb.Fatal(err)
		}
		source := fmt.Sprintf("/proc/self/fd/%d", ns.File().Fd())
		if err := unix.Mount(source, m.Path(i), "", unix.MS_BIND, ""); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = unix.Unmount(m.Path(i), unix.MNT_DETACH) })
		m.Inodes = append(m.Inodes, ns.Inode())
		if err := ns.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	return m
}

// Counts returns how many entries each namespace has.
func (m *Mounted) Counts(tb testing.TB) []uint64 {
	tb.Helper()
	var all []uint64
	for i := range m.Inodes {
		ns, err := netns.Open(m.Path(i))
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, Count(tb, ns))
		if err := ns.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	return all
}

// HostMax reads nf_conntrack_max of the host.
func HostMax(tb testing.TB) uint64 {
	tb.Helper()
	own, err := netns.Current()
	if err != nil {
		tb.Fatal(err)
	}
	defer own.Close()
	return sysctl(tb, own, "nf_conntrack_max")
}

// NeedRoot skips a test that makes network namespaces and enters them.
func NeedRoot(tb testing.TB) {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("needs root to make network namespaces")
	}
}

// NeedHost skips a test that writes a value of the whole host, unless
// CTWARDEN_TEST_HOST=1 permits it.
func NeedHost(tb testing.TB) {
	tb.Helper()
	if os.Getenv("CTWARDEN_TEST_HOST") != "1" {
		tb.Skip("writes nf_conntrack_max of the host: needs CTWARDEN_TEST_HOST=1")
	}
	if os.Getuid() != 0 {
		tb.Skip("needs root to write nf_conntrack_max")
	}
}

// LowerMax sets the host's max to a value that a test's traffic can exceed, and
// restores the old value when the test ends.
func LowerMax(tb testing.TB, most uint64) {
	tb.Helper()
	before := HostMax(tb)
	own, err := netns.Current()
	if err != nil {
		tb.Fatal(err)
	}
	defer own.Close()
	if used := Count(tb, own); used > most/4 {
		tb.Skipf("needs a host without traffic of its own: it tracks %d connections, and nf_conntrack_max is lowered to %d", used, most)
	}
	write := func(n uint64) {
		if err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_max", strconv.AppendUint(nil, n, 10), 0); err != nil {
			tb.Error(err)
		}
	}
	tb.Cleanup(func() { write(before) })
	write(most)
}
