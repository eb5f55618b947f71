package cttest

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// Capability bits, from include/uapi/linux/capability.h.
const (
	capNetAdmin = 12
	capSysAdmin = 21
)

// NewNS makes a network namespace that is closed when the test ends. It skips
// a test that lacks CAP_SYS_ADMIN or CAP_NET_ADMIN; any other obstacle fails
// it.
func NewNS(tb testing.TB) *netns.NS {
	tb.Helper()
	if !capable(tb, capSysAdmin) || !capable(tb, capNetAdmin) {
		tb.Skip("needs CAP_SYS_ADMIN and CAP_NET_ADMIN to make a network namespace")
	}
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

func capable(tb testing.TB, bit uint) bool {
	tb.Helper()
	var sets [2]unix.CapUserData // two words of 32 bits; both of ours are in the first
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &sets[0]); err != nil {
		tb.Fatal(err)
	}
	return sets[0].Effective&(1<<bit) != 0
}

// Count returns nf_conntrack_count of the namespace. It includes entries that
// no dump shows, see conntrack.Table.
func Count(tb testing.TB, ns *netns.NS) uint64 {
	tb.Helper()
	return sysctl(tb, ns, "nf_conntrack_count")
}

// NeedRoom makes sure that n entries fit the namespace's table. The limit is
// one number for the whole host: it is raised, and put back when the test
// ends, only if CTWARDEN_TEST_HOST=1; otherwise the test is skipped.
func NeedRoom(tb testing.TB, n int) {
	tb.Helper()
	const path = "/proc/sys/net/netfilter/nf_conntrack_max"
	own, err := netns.Current()
	if err != nil {
		tb.Fatal(err)
	}
	defer own.Close()
	before := sysctl(tb, own, "nf_conntrack_max")
	if before == 0 || before >= uint64(n) { // 0 is unlimited up to Linux 6.18
		return
	}
	if os.Getenv("CTWARDEN_TEST_HOST") != "1" {
		tb.Skipf("needs CTWARDEN_TEST_HOST=1 to raise the host's nf_conntrack_max from %d to %d", before, n)
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(n)), 0); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.WriteFile(path, []byte(strconv.FormatUint(before, 10)), 0); err != nil {
			tb.Error(err)
		}
	})
}

func sysctl(tb testing.TB, ns *netns.NS, name string) (n uint64) {
	tb.Helper()
	err := ns.Do(func() error {
		text, err := os.ReadFile("/proc/sys/net/netfilter/" + name)
		if err != nil {
			return err
		}
		n, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		tb.Skip("needs the nf_conntrack module: ", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return n
}
