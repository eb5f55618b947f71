package ctnetlink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

var errIncomplete = errors.New("no original tuple, or no status")

// A Query selects the entries that a dump reports, and bounds the dump. The zero
// Query selects all.
type Query struct {
	// Family is 2 (AF_INET) or 10 (AF_INET6); 0 is both.
	Family uint8
	// An entry is selected if its status, masked with StatusMask, is Status.
	// The zero mask selects any; {0, StatusSeenReply} the unreplied ones.
	Status, StatusMask conntrack.Status
	// Features lets the kernel filter by status, so that it does not send the
	// other entries. A kernel without the filter (Linux 5.10) ignores it, so
	// each entry is checked again here.
	Features Features
	// Box stops the dump after so much time; 0 is no bound. It is checked after
	// each datagram of up to 32 KiB.
	Box time.Duration
}

// A Stop is the reason why a dump ended before the end of the table.
type Stop uint8

// The reasons to stop. The zero Stop is a dump that the kernel ended. That is
// the whole table only if the hash was not resized meanwhile: on Linux 5.10 and
// 6.1 a dump during which it was resized a dozen times reported half of the
// entries, some of them twice, and ended like any other.
const (
	Complete Stop = iota
	ByCaller      // the callback returned false
	ByTime
)

// String returns the reason in a word.
func (s Stop) String() string {
	return [...]string{"complete", "caller", "time"}[min(s, ByTime)]
}

// Dumped is the result of a dump.
type Dumped struct {
	Entries uint64 // entries reported
	Seen    uint64 // entries received, reported or not
	Unread  uint64 // entries received that could not be decoded
	Bytes   uint64
	Stop    Stop
	// Interrupted is set if the kernel marked the dump as inconsistent.
	// ctnetlink does not, up to Linux 7.3, although a resize of the hash during
	// a dump can skip or repeat entries.
	Interrupted bool
	// Resized is set if the hash has another size than when the dump began, so
	// that entries are missing or reported twice. A hash that was resized twice,
	// back to the old size, is not detected.
	Resized bool
}

// A Visit is called for each entry of a dump and returns false to stop it.
// The entry and the key are valid, and may be changed, until it returns.
type Visit func(e *conntrack.Entry, k *Key) bool

// Dump walks the table in the order of the hash, so a part of it is an
// unbiased sample. It is not a snapshot: an entry can be reported twice, if the
// one at which the kernel wanted to resume is gone, and one that came or went
// meanwhile may or may not be reported. Walking frees entries that have expired
// (ctnetlink_dump_table).
//
// A dump that ends before the end of the table closes c: reading to the end,
// the other way to make the socket usable again, can take longer than the dump.
func (c *Conn) Dump(ctx context.Context, q Query, visit Visit) (Dumped, error) {
	return c.dump(ctx, q, visit, func() bool { return true })
}

// dump calls boundary after each datagram; false stops it like visit's.
func (c *Conn) dump(ctx context.Context, q Query, visit Visit, boundary func() bool) (Dumped, error) {
	d := dump{conn: c, query: q, visit: visit}
	before := buckets()
	err := d.run(ctx, boundary)
	d.Resized = buckets() != before
	if err != nil {
		err = fmt.Errorf("dump table: %w", err)
	}
	if err != nil || d.Stop != Complete {
		err = errors.Join(err, c.Close())
	}
	return d.Dumped, err
}

// A dump is one run of Dump.
type dump struct {
	Dumped
	conn  *Conn
	query Query
	visit Visit
	entry conntrack.Entry
	key   Key
}

func (d *dump) run(ctx context.Context, boundary func() bool) error {
	var end time.Time
	if d.query.Box > 0 {
		end = time.Now().Add(d.query.Box)
	}
	if err := d.conn.request(ctx, d.query.request()); err != nil {
		return err
	}
	for {
		datagram, err := d.conn.receive(ctx)
		if err != nil {
			return err
		}
		d.Bytes += uint64(len(datagram))
		done, err := d.handle(datagram)
		if err != nil || done {
			return err
		}
		switch {
		case !boundary():
			d.Stop = ByCaller
		case !end.IsZero() && !time.Now().Before(end):
			d.Stop = ByTime
		default:
			continue
		}
		return nil
	}
}

// handle reads one datagram and reports whether the dump is over.
func (d *dump) handle(datagram []byte) (done bool, err error) {
	for len(datagram) > 0 {
		var m message
		if m, datagram, err = nextMessage(datagram); err != nil {
			return false, err
		}
		if m.seq != d.conn.seq {
			continue // a reply to an earlier request
		}
		if m.flags&netlink.DumpInterrupted != 0 {
			d.Interrupted = true
		}
		switch m.kind {
		case netlink.Done, netlink.Error:
			return true, m.failure()
		case netlink.Overrun:
			return false, unix.ENOBUFS
		case netlink.HeaderType(messageType(msgNew)):
			if stop := d.visitEntry(m.payload); stop != Complete {
				d.Stop = stop
				return true, nil
			}
		}
	}
	return false, nil
}

func (d *dump) visitEntry(payload []byte) Stop {
	d.Seen++
	if err := decode(payload, &d.entry, &d.key); err != nil {
		d.Unread++
		return Complete
	}
	q := &d.query
	if q.Family != 0 && d.entry.Family != q.Family {
		return Complete
	}
	if d.entry.Status&q.StatusMask != q.Status&q.StatusMask {
		return Complete
	}
	d.Entries++
	if !d.visit(&d.entry, &d.key) {
		return ByCaller
	}
	return Complete
}

// request is the message that starts the dump.
func (q Query) request() []byte {
	b := beginMessage(nil, msgGet, netlink.Request|netlink.Dump, q.Family)
	if q.StatusMask != 0 && q.Features.StatusFilter == Yes {
		b = appendUint32(b, ctaStatus, uint32(q.Status&q.StatusMask))
		b = appendUint32(b, ctaStatusMask, uint32(q.StatusMask))
	}
	endMessage(b, 0)
	return b
}

// request numbers a single message and sends it.
func (c *Conn) request(ctx context.Context, message []byte) error {
	c.seq++
	setSequence(message, c.seq)
	return c.send(ctx, message)
}

// failure is the error that ends a dump or replies to a message, or nil.
func (m message) failure() error {
	code, err := m.errno()
	if err != nil || code == 0 {
		return err
	}
	return unix.Errno(code)
}
