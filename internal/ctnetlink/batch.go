package ctnetlink

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// batchMax is how many messages go out in one datagram. An acknowledgement of
// each of 256 just fills a default receive buffer; half of that leaves room
// if every message of a batch is refused.
const batchMax = 128

// ErrRefused reports an entry that is not changed because its message could
// change something else. Nothing is sent for it.
var ErrRefused = errors.New("refused")

// A batch is up to batchMax changes of single entries, ready to be sent.
type batch struct {
	buf    []byte
	starts [batchMax]int
	n      int
}

func newBatch() *batch { return &batch{buf: make([]byte, 0, batchMax*messageRoom)} }

// messageRoom is the most that one change takes: headers, an IPv6 tuple with
// a zone, and three more attributes. It only sizes the first allocation.
const messageRoom = 160

func (b *batch) full() bool { return b.n == batchMax }

func (b *batch) reset() { b.buf, b.n = b.buf[:0], 0 }

// delete adds the deletion of an entry. A DELETE without a tuple empties the
// table (ctnetlink_del_conntrack), and the kernel silently skips an attribute of
// a wrong length; so the tuple must be complete. The id must be there to protect
// a newer entry of the same tuple.
func (b *batch) delete(k *Key) error {
	if !k.hasID {
		return fmt.Errorf("delete an entry without an id: %w", ErrRefused)
	}
	return b.add(msgDelete, k, 0)
}

// update adds a new remaining time, in seconds. Without NLM_F_CREATE it never
// makes an entry. The kernel does not compare the id in an update (seen on
// Linux 6.18), so an entry that is gone and came back is updated in its place;
// its next packet restores the time.
func (b *batch) update(k *Key, timeout uint32) error {
	return b.add(msgNew, k, timeout)
}

func (b *batch) add(msg uint16, k *Key, timeout uint32) error {
	if b.full() {
		return fmt.Errorf("batch is full: %w", ErrRefused)
	}
	if err := checkTuple(k.tuple); err != nil {
		return err
	}
	start := len(b.buf)
	buf := beginMessage(b.buf, msg, netlink.Request, k.family)
	buf = append(buf, k.tuple...)
	buf = append(buf, make([]byte, align4(len(k.tuple))-len(k.tuple))...)
	if k.zone != 0 {
		buf = appendUint16(buf, ctaZone, k.zone)
	}
	if k.hasID {
		buf = appendUint32(buf, ctaID, k.id)
	}
	if msg == msgNew {
		buf = appendUint32(buf, ctaTimeout, timeout)
	}
	endMessage(buf, start)
	b.buf, b.starts[b.n] = buf, start
	b.n++
	return nil
}

// checkTuple accepts one whole CTA_TUPLE_ORIG attribute with two addresses of
// one family and a protocol, and nothing after it.
func checkTuple(tuple []byte) error {
	kind, value, rest, err := nextAttribute(tuple)
	if err != nil || kind != ctaTupleOrig || len(rest) != 0 {
		return fmt.Errorf("not an original tuple: %w", ErrRefused)
	}
	var e conntrack.Entry
	if err := decodeTuple(value, &e.Orig, &e); err != nil {
		return fmt.Errorf("original tuple: %w: %w", err, ErrRefused)
	}
	src, dst := e.Orig.Src, e.Orig.Dst
	if !src.IsValid() || !dst.IsValid() || src.Is4() != dst.Is4() {
		return fmt.Errorf("original tuple without its addresses: %w", ErrRefused)
	}
	if !hasProto(value) {
		return fmt.Errorf("original tuple without its protocol: %w", ErrRefused)
	}
	return nil
}

// hasProto reports whether CTA_PROTO_NUM is there: protocol 0 is a valid one.
func hasProto(tuple []byte) bool {
	proto := findAttribute(tuple, ctaTupleProto)
	return proto != nil && findAttribute(proto, ctaProtoNum) != nil
}

func findAttribute(b []byte, want uint16) []byte {
	for len(b) > 0 {
		kind, value, rest, err := nextAttribute(b)
		if err != nil {
			return nil
		}
		if kind == want {
			return value
		}
		b = rest
	}
	return nil
}

// An EntryError names the entry that the kernel refused to change, and why.
type EntryError struct {
	Orig conntrack.Tuple
	Err  error
}

// Error names the tuple and the kernel's error.
func (e *EntryError) Error() string { return fmt.Sprintf("entry %s: %v", e.Orig, e.Err) }

// Unwrap returns the kernel's error.
func (e *EntryError) Unwrap() error { return e.Err }

// A Change counts the entries of a change by result.
type Change struct {
	// Done were deleted, or have the new timeout.
	Done uint64
	// Gone were not in the table any more, or had been replaced by a newer one.
	Gone uint64
	// Failed were refused by the kernel; First is the error of the first.
	Failed uint64
	First  error
}

func (c *Change) add(o Change) {
	c.Done += o.Done
	c.Gone += o.Gone
	c.Failed += o.Failed
	if c.First == nil {
		c.First = o.First
	}
}

// apply sends a batch and counts the replies. An error is one of the socket: the
// result of the batch is then unknown.
func (c *Conn) apply(ctx context.Context, b *batch) (Change, error) {
	if b.n == 0 {
		return Change{}, nil
	}
	first := c.seq + 1
	for i := range b.n {
		c.seq++
		setSequence(b.buf[b.starts[i]:], c.seq)
	}
	setFlags(b.buf[b.starts[b.n-1]:], netlink.Request|netlink.Acknowledge)
	if err := b.check(); err != nil {
		return Change{}, err
	}
	if err := c.send(ctx, b.buf); err != nil {
		return Change{}, err
	}
	change := Change{Done: uint64(b.n)}
	for {
		datagram, err := c.receive(ctx)
		if err != nil {
			return Change{}, err
		}
		last, err := c.handleReplies(datagram, b, first, &change)
		if err != nil {
			return Change{}, err
		}
		if last {
			return change, nil
		}
	}
}

// handleReplies counts the kernel's replies to a batch: an error for each message
// that failed, with or without NLM_F_ACK, and the acknowledgement of the last.
func (c *Conn) handleReplies(datagram []byte, b *batch, first uint32, change *Change) (last bool, err error) {
	for len(datagram) > 0 {
		var m message
		if m, datagram, err = nextMessage(datagram); err != nil {
			return false, err
		}
		i := m.seq - first // wraps with the sequence numbers
		if m.kind != netlink.Error || i >= uint32(b.n) {
			continue
		}
		switch err := m.failure(); {
		case err == nil:
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ETIME):
			change.Done--
			change.Gone++
		default:
			change.fail(b.error(int(i), err))
		}
		if i == uint32(b.n-1) {
			return true, nil
		}
	}
	return false, nil
}

func (c *Change) fail(err error) {
	c.Done--
	c.Failed++
	if c.First == nil {
		c.First = err
	}
}

// error names the i-th entry of the batch.
func (b *batch) error(i int, err error) error {
	var e conntrack.Entry
	value := findAttribute(b.message(i)[messageHeader+netfilterBytes:], ctaTupleOrig)
	if bad := decodeTuple(value, &e.Orig, &e); bad != nil {
		return errors.Join(err, bad)
	}
	return &EntryError{Orig: e.Orig, Err: err}
}

// part copies the messages from i on and before j into a batch of their own.
func (b *batch) part(i, j int) *batch {
	p := newBatch()
	for ; i < j; i++ {
		p.starts[p.n] = len(p.buf)
		p.buf = append(p.buf, b.message(i)...)
		p.n++
	}
	return p
}

func (b *batch) message(i int) []byte {
	if i+1 < b.n {
		return b.buf[b.starts[i]:b.starts[i+1]]
	}
	return b.buf[b.starts[i]:]
}

// check verifies the bytes that are about to be sent: the first attribute of each
// message must be the tuple of one entry.
func (b *batch) check() error {
	rest := b.buf
	for i := range b.n {
		m, after, err := nextMessage(rest)
		if err != nil || len(m.payload) < netfilterBytes {
			return fmt.Errorf("message %d of a batch: %w", i, ErrRefused)
		}
		kind, value, _, err := nextAttribute(m.payload[netfilterBytes:])
		if err != nil || kind != ctaTupleOrig || len(value) == 0 {
			return fmt.Errorf("message %d of a batch has no tuple: %w", i, ErrRefused)
		}
		rest = after
	}
	if len(rest) != 0 {
		return fmt.Errorf("bytes after a batch: %w", ErrRefused)
	}
	return nil
}
