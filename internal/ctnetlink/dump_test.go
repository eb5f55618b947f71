package ctnetlink_test

import (
	"testing"

	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/nfct"
)

func dial(tb testing.TB, ns *netns.NS) *ctnetlink.Conn {
	tb.Helper()
	c, err := ctnetlink.Dial(ns)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}
func TestDumpSmoke(t *testing.T) {
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, 100000, cttest.Unreplied())
	t.Log(cttest.Count(t, ns))
	c := dial(t, ns)
	d, err := c.Dump(t.Context(), ctnetlink.Query{}, func(e *nfct.Entry, k *ctnetlink.Key) bool {
		return true
	})
	t.Logf("%+v %v", d, err)
}
