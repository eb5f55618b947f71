package agent

import (
	"testing"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
)

// TestCountOthers: max and the hash are every namespace's, so whoever puts
// them back must know what the others hold.
func TestCountOthers(t *testing.T) {
	cttest.NeedRoot(t)
	const more, less = 3000, 1000
	cttest.NeedRoom(t, more)
	s := cttest.Mount(t, 2, func(i int, ns *netns.NS) { cttest.Fill(t, ns, []int{more, less}[i], idle()) })
	own, err := netns.Open(s.Path(1))
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	others, err := CountOthers(own)
	if err != nil {
		t.Fatal(err)
	}
	if others.Fullest < more || others.All < others.Fullest {
		t.Errorf("seen from the smaller one: %+v, want one of at least %d", others, more)
	}
	host, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	all, err := CountOthers(host)
	if err != nil {
		t.Fatal(err)
	}
	if all.All < more+less {
		t.Errorf("seen from the host: %+v, want at least %d", all, more+less)
	}
}
