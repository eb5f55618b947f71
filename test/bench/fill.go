package main

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/sandbox"
)

// newTable makes a namespace in which packets are tracked, whose UDP entries
// live so long that those of the bench are idle and do not expire.
func newTable() (*sandbox.Sandbox, error) {
	table, err := sandbox.New()
	if err != nil {
		return nil, err
	}
	err = table.NS.Do(func() error {
		return os.WriteFile("/proc/sys/net/netfilter/"+conntrack.UDP.Sysctl(), []byte("7200"), 0)
	})
	if err != nil {
		return nil, errors.Join(err, table.Close())
	}
	return table, nil
}

// mixed is the i-th entry of a busy gateway's table: of 20, 11 closing, 3
// established, 4 unreplied and 2 assured UDP, half of them from a few
// sources and half from as many as there are.
func mixed(i int) conntrack.Entry {
	template := cttest.TCP(conntrack.StateTimeWait)
	switch i % 20 {
	case 0, 1, 2:
		template = cttest.TCP(conntrack.StateEstablished)
	case 3, 4:
		template = cttest.TCP(conntrack.StateSynSent)
	case 5, 6:
		template = cttest.Unreplied()
	case 7, 8:
		template = cttest.Assured()
	}
	e := cttest.Like(template, i)
	if i%2 == 0 {
		var src [4]byte
		// An odd factor gives each a source of its own, in no order.
		binary.BigEndian.PutUint32(src[:], 11<<24|uint32(i)*2654435761&(1<<24-1))
		e.Orig.Src = netip.AddrFrom4(src)
	}
	return e
}

// fillMixed makes n entries.
func fillMixed(ns *netns.NS, n int) error { return cttest.Put(ns, n, mixed) }

// keepEvery is the number of entries to one that must stay.
const keepEvery = 10

// fillIdle makes n entries, of which one in keepEvery is replied and the others
// may be deleted.
func fillIdle(ns *netns.NS, n int) error {
	return cttest.Put(ns, n, func(i int) conntrack.Entry {
		if i%keepEvery == 0 {
			return cttest.Like(cttest.Replied(), i)
		}
		return cttest.Like(cttest.Unreplied(), i)
	})
}

// count reads nf_conntrack_count of the namespace.
func count(ns *netns.NS) (n int, err error) {
	err = ns.Do(func() (err error) {
		n, err = readNumber("/proc/sys/net/netfilter/nf_conntrack_count")
		return err
	})
	return n, err
}
