package ctnetlink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/netns"
)

const (
	// datagramBytes is twice the largest datagram of a dump: the kernel fills
	// at most 32 KiB, however large the reader's buffer. See netlink_recvmsg
	// and netlink_dump in net/netlink/af_netlink.c.
	datagramBytes = 64 << 10
	// receiveBytes is the socket's receive buffer. It must hold an error for
	// each message of a batch and one datagram of a dump.
	receiveBytes = 1 << 20
	// replyTimeout is the longest wait for a reply. The kernel replies at once
	// unless another request holds the mutex that all of ctnetlink shares: a
	// flush of a million entries holds it for about a second.
	replyTimeout = 10 * time.Second
)

// A Conn is a ctnetlink socket of one network namespace. One goroutine uses
// it at a time; Close may be called from any. Every wait has a deadline.
type Conn struct {
	netlink *netlink.Conn
	raw     syscall.RawConn
	closed  atomic.Bool
	seq     uint32
	buf     []byte

	// What read and write, made once so that a call allocates nothing, work
	// on.
	read, write func(fd uintptr) bool
	out         []byte
	n           int
	err         error
}

// Dial opens a socket in the namespace and sends one request, which fails without
// CAP_NET_ADMIN in the user namespace that owns ns (os.ErrPermission), or without
// ctnetlink in the kernel (errors.ErrUnsupported).
func Dial(ns *netns.NS) (*Conn, error) {
	var nl *netlink.Conn
	err := ns.Do(func() (err error) {
		// Dialled on a thread in the namespace and not by netlink.Config.NetNS,
		// which is a bare number of a file that may be another one by now.
		nl, err = netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{MessageBufferSize: datagramBytes})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial ctnetlink in %s: %w", ns, err)
	}
	c, err := newConn(nl)
	if err == nil {
		err = c.ping()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("dial ctnetlink in %s: %w", ns, err), nl.Close())
	}
	return c, nil
}

func newConn(nl *netlink.Conn) (*Conn, error) {
	raw, err := nl.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := nl.SetReadBuffer(receiveBytes); err != nil {
		return nil, err
	}
	// An error then carries the header of the refused message only, so that
	// those of a whole batch fit the buffer.
	if err := nl.SetOption(netlink.CapAcknowledge, true); err != nil {
		return nil, err
	}
	c := &Conn{netlink: nl, raw: raw, buf: make([]byte, datagramBytes)}
	c.read = func(fd uintptr) bool {
		for {
			c.n, c.err = unix.Read(int(fd), c.buf)
			if !errors.Is(c.err, unix.EINTR) {
				return !errors.Is(c.err, unix.EAGAIN)
			}
		}
	}
	c.write = func(fd uintptr) bool {
		for {
			_, c.err = unix.Write(int(fd), c.out)
			if !errors.Is(c.err, unix.EINTR) {
				return !errors.Is(c.err, unix.EAGAIN)
			}
		}
	}
	return c, nil
}

// ping requests the size of the table and waits for the acknowledgement.
func (c *Conn) ping() error {
	ctx := context.Background()
	hello := beginMessage(nil, msgStats, netlink.Request|netlink.Acknowledge, unix.AF_UNSPEC)
	endMessage(hello, 0)
	if err := c.request(ctx, hello); err != nil {
		return err
	}
	for {
		datagram, err := c.receive(ctx)
		if err != nil {
			return err
		}
		for len(datagram) > 0 {
			var m message
			if m, datagram, err = nextMessage(datagram); err != nil {
				return err
			}
			if m.kind != netlink.Error {
				continue
			}
			if err := m.failure(); !errors.Is(err, unix.EINVAL) {
				return err
			}
			// nfnetlink knows no such subsystem and could not load it.
			return fmt.Errorf("the kernel has no ctnetlink: %w", errors.ErrUnsupported)
		}
	}
}

// Close closes the socket, which ends a dump at once; its error, and that of
// any later call, is os.ErrClosed. Closing twice is harmless.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	if err := c.netlink.Close(); err != nil {
		return fmt.Errorf("close ctnetlink: %w", err)
	}
	return nil
}

// wait sets the deadline of the next read or write.
func (c *Conn) wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	deadline := time.Now().Add(replyTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := c.netlink.SetDeadline(deadline); err != nil {
		return c.socketError(ctx, err)
	}
	return nil
}

// send writes messages, all in one datagram. The kernel has worked through
// them when send returns.
func (c *Conn) send(ctx context.Context, messages []byte) error {
	if err := c.wait(ctx); err != nil {
		return err
	}
	c.out = messages
	if err := c.raw.Write(c.write); err != nil {
		return c.socketError(ctx, err)
	}
	return os.NewSyscallError("write", c.err)
}

// receive reads the next datagram. It is valid until the next receive.
func (c *Conn) receive(ctx context.Context) ([]byte, error) {
	if err := c.wait(ctx); err != nil {
		return nil, err
	}
	if err := c.raw.Read(c.read); err != nil {
		return nil, c.socketError(ctx, err)
	}
	if c.err != nil {
		return nil, os.NewSyscallError("read", c.err)
	}
	return c.buf[:c.n], nil
}

// socketError names an error of the socket: the runtime's poller has an error of its
// own for a closed file, and one for two kinds of deadline.
func (c *Conn) socketError(ctx context.Context, err error) error {
	if c.closed.Load() {
		return os.ErrClosed
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) {
		return context.DeadlineExceeded
	}
	return fmt.Errorf("no reply from the kernel within %v: %w", replyTimeout, err)
}
