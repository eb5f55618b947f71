package sandbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// sinkPort has a socket that is never read: without one, the kernel would reply to
// each packet with an ICMP error.
const sinkPort = 9

// A Flood sends UDP packets to ever new loopback addresses: each is a new flow
// without a reply. Its counts may be read while it runs.
type Flood struct {
	// Sent counts the packets that passed, Refused those that the kernel
	// dropped on their way out because the table was full: sendto returns EPERM.
	Sent, Refused atomic.Uint64
	from, sink    int
}

// NewFlood opens the flood's sockets in the namespace.
func NewFlood(ns *netns.NS) (*Flood, error) {
	f := &Flood{from: -1, sink: -1}
	err := ns.Do(func() (err error) {
		if f.from, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		if f.sink, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(f.sink, &unix.SockaddrInet4{Port: sinkPort})
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open flood sockets: %w", err), f.Close())
	}
	return f, nil
}

// Close closes the sockets.
func (f *Flood) Close() error {
	var errs []error
	for _, fd := range []int{f.from, f.sink} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	f.from, f.sink = -1, -1
	return errors.Join(errs...)
}

// floodTick is how often a batch is sent: short against the second in which a
// rate is measured, long against the time that a batch takes.
const floodTick = 5 * time.Millisecond

// Run sends rate packets a second, at most total of them, until ctx is done.
// A machine that can't send as fast sends as fast as it can.
func (f *Flood) Run(ctx context.Context, rate, total uint64) error {
	ticks := time.NewTicker(floodTick)
	defer ticks.Stop()
	start := time.Now()
	var n uint64
	for n < total {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticks.C:
			due := min(uint64(float64(rate)*now.Sub(start).Seconds()), total)
			// After a pause of the whole machine no burst follows.
			for end := min(due, n+rate/10+1); n < end; n++ {
				if err := f.send(uint32(n)); err != nil {
					return fmt.Errorf("send flood packet %d: %w", n, err)
				}
			}
		}
	}
	return nil
}

// send sends one packet to the n-th loopback address, counted from 127.1.0.0:
// 127.0.0.0/16 is for the connections that must survive.
func (f *Flood) send(n uint32) error {
	to := unix.SockaddrInet4{Port: sinkPort}
	const addresses = 1<<24 - 1<<17
	binary.BigEndian.PutUint32(to.Addr[:], 127<<24+1<<16+n%addresses)
	switch err := unix.Sendto(f.from, []byte{0}, 0, &to); {
	case err == nil:
		f.Sent.Add(1)
	case errors.Is(err, unix.EPERM):
		f.Refused.Add(1)
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
		// The local queue is full; the packet was never tracked.
	default:
		return err
	}
	return nil
}

// ShortConns opens TCP connections that close at once and leave TIME_WAIT behind.
type ShortConns struct {
	// Made counts the connections that were made, Failed those that were
	// not.
	Made, Failed atomic.Uint64
	ns           *netns.NS
	listener     net.Listener
}

// shortConnsPort is the port that ShortConns connect to.
const shortConnsPort = 7001

// NewShortConns listens in the namespace, on a thread of its own.
func NewShortConns(sandbox *Sandbox) (*ShortConns, error) {
	ns, err := sandbox.openAgain()
	if err != nil {
		return nil, err
	}
	s := &ShortConns{ns: ns}
	err = ns.Do(func() (err error) {
		s.listener, err = net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", shortConnsPort))
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for short connections: %w", err), ns.Close())
	}
	go s.accept()
	return s, nil
}

func (s *ShortConns) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return // Close closed it
		}
		// The other end closes first, so that TIME_WAIT is its own.
		go func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = c.Read(make([]byte, 1))
		}()
	}
}

// Run opens rate connections a second until ctx is done.
func (s *ShortConns) Run(ctx context.Context, rate int) {
	ticks := time.NewTicker(time.Second / time.Duration(rate))
	defer ticks.Stop()
	for n := uint32(0); ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		to := net.TCPAddr{IP: net.IPv4(127, 0, byte(1+n>>8%200), byte(n)), Port: shortConnsPort}
		err := s.ns.Do(func() error {
			c, err := net.DialTimeout("tcp4", to.String(), 200*time.Millisecond)
			if err != nil {
				return err
			}
			return c.Close()
		})
		if err != nil {
			s.Failed.Add(1)
			continue
		}
		s.Made.Add(1)
	}
}

// Close stops listening.
func (s *ShortConns) Close() error { return errors.Join(s.listener.Close(), s.ns.Close()) }
