package agent

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestListenNeedsNamesDropIn: RestrictAddressFamilies= has the
// kernel refuse the socket itself; an address in use is no matter of the unit.
func TestListenNeedsNamesDropIn(t *testing.T) {
	for _, c := range []struct {
		call string
		err  syscall.Errno
		told bool
	}{{"socket", syscall.EAFNOSUPPORT, true}, {"bind", syscall.EADDRINUSE, false}} {
		err := &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError(c.call, c.err)}
		needs := fmt.Sprint(listenNeeds(err)...)
		if strings.Contains(needs, "/usr/share/ctwarden/metrics.conf") != c.told {
			t.Errorf("%v: needs %q", err, needs)
		}
	}
}
