package sandboxtest

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// Exchanges are UDP flows with replies that continue: the flows of a real client
// and a real server, which the kernel's early drop spares (ASSURED).
type Exchanges struct {
	client, server *net.UDPConn
	// Sent counts the flows that began, Refused those whose first packet the
	// kernel dropped.
	Sent, Refused uint64
}

// assuredAfter is when a flow's next packet makes it ASSURED: the kernel wants
// one that comes 2 s after the first (nf_conntrack_udp_packet, Linux 5.4 and
// later).
const assuredAfter = 2200 * time.Millisecond

// NewExchanges opens the sockets of a client and a server in a namespace, until
// the test ends.
func NewExchanges(tb testing.TB, ns *netns.NS) *Exchanges {
	tb.Helper()
	var x Exchanges
	err := ns.Do(func() (err error) {
		if x.client, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			return err
		}
		if x.server, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 7002}); err != nil {
			return err
		}
		raw, err := x.server.SyscallConn()
		if err != nil {
			return err
		}
		return errors.Join(raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}), err)
	})
	if err != nil {
		tb.Fatal(err)
	}
	answered := make(chan struct{})
	go func() { defer close(answered); x.answer() }()
	tb.Cleanup(func() {
		if err := errors.Join(x.client.Close(), x.server.Close()); err != nil {
			tb.Error(err)
		}
		<-answered
	})
	return &x
}

// answer sends each packet back, from the address that it came to, until the
// server is closed. The client never reads: its full queue does not affect
// tracking.
func (x *Exchanges) answer() {
	data, control := make([]byte, 16), make([]byte, 128)
	for {
		n, cn, _, from, err := x.server.ReadMsgUDPAddrPort(data, control)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			// Errors are ignored: the kernel drops a reply where it dropped the
			// first packet, and Refused counts that packet.
			_, _, _ = x.server.WriteMsgUDPAddrPort(data[:n], control[:cn], from)
		}
	}
}

// flow returns the destination of the n-th flow.
func flow(n uint64) netip.AddrPort {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 127<<24+1<<16+uint32(n))
	return netip.AddrPortFrom(netip.AddrFrom4(a), 7002)
}

// send sends a packet of the n-th flow; ok is false if the kernel dropped it.
func (x *Exchanges) send(n uint64) (ok bool, err error) {
	_, err = x.client.WriteToUDPAddrPort([]byte{0}, flow(n))
	if errors.Is(err, unix.EPERM) {
		return false, nil
	}
	return err == nil, err
}

// Run begins flows so that after each time as many have begun as due returns. It
// sends each flow's next packet when that makes the flow ASSURED, and ends when
// total flows have had both. A machine that can't keep up takes longer.
func (x *Exchanges) Run(ctx context.Context, total uint64, due func(time.Duration) uint64) error {
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	begun := make([]time.Time, total)
	var first, next uint64
	for next < total {
		var now time.Time
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now = <-ticks.C:
		}
		for ; next < first && now.Sub(begun[next]) >= assuredAfter; next++ {
			if _, err := x.send(next); err != nil {
				return err
			}
		}
		if first == total {
			continue
		}
		if begun[0].IsZero() {
			begun[0] = now
		}
		for end := min(due(now.Sub(begun[0])), total); first < end; first++ {
			ok, err := x.send(first)
			if err != nil {
				return err
			}
			if !ok {
				x.Refused++
			}
			x.Sent++
			begun[first] = now
		}
	}
	return nil
}
