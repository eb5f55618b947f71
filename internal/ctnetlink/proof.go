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

// A proof makes the one change of a batch and looks whether the kernel did
// what was meant. Unknown: this entry showed nothing.
//
// It is what a sweep does with its first entries where Probe could not try,
// because it had no namespace of its own to try in. It needs no entry that is
// not to be changed anyway, and so nothing that an audit does not know of; one
// of its own could not be made when it matters, for the table is full then.
type proof func(ctx context.Context, c *Conn, b *batch) (Change, Support, error)

// proveDelete asks to delete an entry by another id first, which must not find
// it, and then by its own, which must. If the first one does, no id protects a
// newer entry of the same tuple, and this is the last one deleted.
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
		return change, Unknown, err // gone before it could tell
	}
	return change, Yes, nil
}

// proveUpdate reads the entry before and after. One that has more time left
// than it was given heard a packet meanwhile, or the kernel did not take the
// time; one that had hardly more before shows nothing.
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
		return change, Unknown, nil // it had its time, and ended
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

// checkUpdate says what the remaining times before and after show.
func checkUpdate(before, asked, after uint32) (Support, error) {
	switch {
	case after > asked:
		return Unknown, errTimeUnchanged
	case before < asked+secondsApart:
		return Unknown, nil
	}
	return Yes, nil
}

// secondsApart is more than passes between two looks of a proof.
const secondsApart = 5

// get reads the entry of a batch of one: it asks with the batch's own tuple
// and zone, whatever else is in the message.
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
