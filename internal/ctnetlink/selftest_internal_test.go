package ctnetlink

import (
	"testing"

	timo "github.com/ti-mo/conntrack"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
)

// No filter at all is what a filter is on a kernel that does not know it.
func TestTryFilterSeesThatAFilterDoesNothing(t *testing.T) {
	ns := cttest.NewNS(t)
	var c *timo.Conn
	if err := ns.Do(func() (err error) {
		c, err = timo.Dial(nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	empty, err := tryFilter(c, timo.NewFilter(), trialReplied)
	if err != nil || empty != Unknown {
		t.Errorf("without an entry: %v, %v", empty, err)
	}
	for _, port := range []uint16{trialUnreplied, trialReplied} {
		if err := c.Create(trialFlow(port)); err != nil {
			t.Fatal(err)
		}
	}
	for port, want := range map[uint16]Support{trialReplied: No, trialUnreplied: No, trialZoned: Yes} {
		if got, err := tryFilter(c, timo.NewFilter(), port); err != nil || got != want {
			t.Errorf("port %d: %v, %v, want %v", port, got, err, want)
		}
	}
}
