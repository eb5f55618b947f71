package ctnetlink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

var (
	errIDIgnored     = fmt.Errorf("the kernel deletes an entry whatever its id: %w", errors.ErrUnsupported)
	errTimeUnchanged = errors.New("it has more time left than it was given")
)

// A proof makes the one change of a batch and checks that the kernel did exactly
// that. The result is Unknown if this entry proves nothing.
//
// A sweep uses it for its first entries where Probe could make no namespace for a
// self-test. It changes only entries that are to be changed anyway, and that the
// audit log knows; an entry of its own could not be made in a full table.
type proof func(ctx context.Context, c *Conn, b *batch) (Change, Support, error)

// proveDelete first deletes an entry by a wrong id, which must fail, and then by
// its own id, which must succeed. If the first deletion succeeds, the id does not
// protect a newer entry of the same tuple, and no further entry is deleted.
func proveDelete(ctx context.Context, c *Conn, b *batch) (Change, Support, error) {
	wrong := b.part(0, 1)
	id := findAttribute(wrong.message(0)[messageHeader+netfilterBytes:], ctaID)
	binary.BigEndian.PutUint32(id, binary.BigEndian.Uint32(id)+1)
	spared, err := c.apply(ctx, wrong)
	switch {
	case err != nil || spared.Failed != 0:
		return spared, Unknown, err
	case spared.Done != 0:
		return spared, No, nil
	}
	change, err := c.apply(ctx, b)
	if err != nil || change.Done == 0 {
		return change, Unknown, err // gone before it proved anything
	}
	return change, Yes, nil
}

// proveUpdate reads the entry before and after. If it has more time left than it
// was given, a packet renewed it or the kernel ignored the update; if it had
// hardly more before, it proves nothing.
func proveUpdate(ctx context.Context, c *Conn, b *batch) (Change, Support, error) {
	asked := binary.BigEndian.Uint32(findAttribute(b.message(0)[messageHeader+netfilterBytes:], ctaTimeout))
	before, err := c.get(ctx, b)
	if errors.Is(err, unix.ENOENT) {
		return Change{Gone: 1}, Unknown, nil
	}
	if err != nil {
		return Change{}, Unknown, err
	}
	change, err := c.apply(ctx, b)
	if err != nil || change.Done == 0 {
		return change, Unknown, err
	}
	after, err := c.get(ctx, b)
	if errors.Is(err, unix.ENOENT) {
		return change, Unknown, nil // it expired
	}
	if err != nil {
		return change, Unknown, err
	}
	known, err := checkUpdate(before.Timeout, asked, after.Timeout)
	if err != nil {
		change.fail(&EntryError{Orig: after.Orig, Err: err})
	}
	return change, known, nil
}

// checkUpdate returns what the remaining times before and after prove.
func checkUpdate(before, asked, after uint32) (Support, error) {
	switch {
	case after > asked:
		return Unknown, errTimeUnchanged
	case before < asked+secondsApart:
		return Unknown, nil
	}
	return Yes, nil
}

// secondsApart is more than the time between the two readings of a proof.
const secondsApart = 5

// get reads the entry of a batch of one, by the tuple and zone of its message.
func (c *Conn) get(ctx context.Context, b *batch) (conntrack.Entry, error) {
	ask := b.part(0, 1).buf
	binary.NativeEndian.PutUint16(ask[4:], messageType(msgGet))
	setFlags(ask, netlink.Request)
	var e conntrack.Entry
	if err := c.request(ctx, ask); err != nil {
		return e, err
	}
	for {
		datagram, err := c.receive(ctx)
		if err != nil {
			return e, err
		}
		for len(datagram) > 0 {
			var m message
			if m, datagram, err = nextMessage(datagram); err != nil {
				return e, err
			}
			if m.seq != c.seq {
				continue
			}
			if m.kind == netlink.Error {
				return e, m.failure()
			}
			var k Key
			return e, decode(m.payload, &e, &k)
		}
	}
}
