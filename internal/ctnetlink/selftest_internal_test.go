package ctnetlink

import (
	"testing"

	timo "github.com/ti-mo/conntrack"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
)

// No filter at all is what a filter is on a kernel that does not know it.
func TestSelfTestDetectsAnIgnoredFilter(t *testing.T) {
	ns := cttest.NewNS(t)
	var c *timo.Conn
	if err := ns.Do(func() (err error) {
		c, err = timo.Dial(nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	empty, err := selfTestFilter(c, timo.NewFilter(), portReplied)
	if err != nil || empty != Unknown {
		t.Errorf("without an entry: %v, %v", empty, err)
	}
	for _, port := range []uint16{portUnreplied, portReplied} {
		if err := c.Create(selfTestFlow(port)); err != nil {
			t.Fatal(err)
		}
	}
	for port, want := range map[uint16]Support{portReplied: No, portUnreplied: No, portZoned: Yes} {
		if got, err := selfTestFilter(c, timo.NewFilter(), port); err != nil || got != want {
			t.Errorf("port %d: %v, %v, want %v", port, got, err, want)
		}
	}
}
