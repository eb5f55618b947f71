package cttest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/netns"
)

const (
	// batch is the number of entries that one datagram creates. The last one
	// requests an acknowledgement, so a lost datagram is an error.
	batch = 128
	// defaultTimeout outlives any test, so that no entry expires.
	defaultTimeout = 3600
	// ports of Like: each source address has so many, from firstPort on.
	ports     = 60000
	firstPort = 1024
)

// Unreplied is an entry without a reply: a UDP packet to the
// discard port. A template for Fill.
func Unreplied() conntrack.Entry {
	return conntrack.Entry{
		Orig: conntrack.Tuple{
			Src: netip.MustParseAddr("10.0.0.1"), SrcPort: firstPort,
			Dst: netip.MustParseAddr("192.0.2.1"), DstPort: 9,
		},
		Proto: unix.IPPROTO_UDP,
	}
}

// Replied is Unreplied towards another address, with a reply.
func Replied() conntrack.Entry {
	e := Unreplied()
	e.Orig.Dst = netip.MustParseAddr("192.0.2.2")
	e.Status = conntrack.StatusSeenReply
	return e
}

// Assured is Replied towards another address, and spared by early drop.
func Assured() conntrack.Entry {
	e := Replied()
	e.Orig.Dst = netip.MustParseAddr("192.0.2.3")
	e.Status |= conntrack.StatusAssured
	return e
}

// TCP is a TCP entry in a state; those past the handshake are assured.
func TCP(state conntrack.TCPState) conntrack.Entry {
	e := Unreplied()
	e.Proto, e.State, e.Orig.DstPort = unix.IPPROTO_TCP, state, 80
	e.Orig.Dst = netip.AddrFrom4([4]byte{192, 0, 2, 10 + byte(state)})
	switch state {
	case conntrack.StateNone, conntrack.StateSynSent, conntrack.StateSynSent2:
	case conntrack.StateSynRecv:
		e.Status = conntrack.StatusSeenReply
	default:
		e.Status = conntrack.StatusSeenReply | conntrack.StatusAssured
	}
	return e
}

// Like returns template with the i-th of many source addresses and ports.
func Like(template conntrack.Entry, i int) conntrack.Entry {
	e := template
	addr := e.Orig.Src.As16()
	tail := binary.BigEndian.Uint32(addr[12:]) + uint32(i/ports)
	binary.BigEndian.PutUint32(addr[12:], tail)
	e.Orig.Src = netip.AddrFrom16(addr)
	if template.Orig.Src.Is4() {
		e.Orig.Src = e.Orig.Src.Unmap()
	}
	if isICMP(e.Proto) {
		e.Orig.ICMPID = uint16(firstPort + i%ports)
	} else {
		e.Orig.SrcPort = uint16(firstPort + i%ports)
	}
	return e
}

// Fill creates n entries that differ from the template in their source
// address and port (or ICMP id).
func Fill(tb testing.TB, ns *netns.NS, n int, template conntrack.Entry) {
	tb.Helper()
	create(tb, ns, n, netlink.Excl, func(i int) conntrack.Entry { return Like(template, i) })
}

// Refill is Fill for entries that may be there already; those are left as
// they are, but for their timeout and mark.
func Refill(tb testing.TB, ns *netns.NS, n int, template conntrack.Entry) {
	tb.Helper()
	create(tb, ns, n, 0, func(i int) conntrack.Entry { return Like(template, i) })
}

// Create creates entries. It sends the fields that are set: Orig, Reply (if
// unset, Orig turned round), Proto, Zone, Status (CONFIRMED is added), State,
// Mark and Timeout (if 0, an hour). The kernel sets the rest.
func Create(tb testing.TB, ns *netns.NS, entries ...conntrack.Entry) {
	tb.Helper()
	create(tb, ns, len(entries), netlink.Excl, func(i int) conntrack.Entry { return entries[i] })
}

func create(tb testing.TB, ns *netns.NS, n int, excl netlink.HeaderFlags, entry func(i int) conntrack.Entry) {
	tb.Helper()
	if err := put(ns, n, excl, entry); err != nil {
		tb.Fatal(err)
	}
}

// Put is Create for n entries, for a program that is not a test.
func Put(ns *netns.NS, n int, entry func(i int) conntrack.Entry) error {
	return put(ns, n, netlink.Excl, entry)
}

func put(ns *netns.NS, n int, excl netlink.HeaderFlags, entry func(i int) conntrack.Entry) (err error) {
	var conn *netlink.Conn
	err = ns.Do(func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for from := 0; from < n; from += batch {
		to := min(from+batch, n)
		if err := putBatch(conn, from, to, excl, entry); err != nil {
			return fmt.Errorf("create entries %d to %d: %w", from, to, err)
		}
	}
	return nil
}

func putBatch(conn *netlink.Conn, from, to int, excl netlink.HeaderFlags, entry func(i int) conntrack.Entry) error {
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	messages := make([]netlink.Message, 0, batch)
	for i := from; i < to; i++ {
		m, err := message(entry(i), excl, i == to-1)
		if err != nil {
			return err
		}
		messages = append(messages, m)
	}
	if _, err := conn.SendMessages(messages); err != nil {
		return err
	}
	_, err := conn.Receive()
	if errors.Is(err, unix.ENOMEM) {
		return fmt.Errorf("is nf_conntrack_max too low? see NeedRoom: %w", err)
	}
	return err
}

func message(e conntrack.Entry, excl netlink.HeaderFlags, last bool) (netlink.Message, error) {
	flags := netlink.Request | netlink.Create | excl
	if last {
		flags |= netlink.Acknowledge
	}
	family := netfilter.ProtoIPv4
	if e.Orig.Src.Is6() {
		family = netfilter.ProtoIPv6
	}
	return netfilter.MarshalNetlink(netfilter.Header{
		SubsystemID: netfilter.NFSubsysCTNetlink,
		Family:      family,
		Flags:       flags,
	}, attributes(e))
}
