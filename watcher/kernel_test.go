package watcher_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// Capability bits, from include/uapi/linux/capability.h.
const (
	capNetAdmin = 12
	capSysAdmin = 21
	capSyslog   = 34
)

func capable(t *testing.T, bit int) bool {
	t.Helper()
	var sets [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &sets[0]); err != nil {
		t.Fatal(err)
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
