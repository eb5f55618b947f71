package ctnetlink

import (
	"context"
	"errors"
	"fmt"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/netns"
)

// batchesInFlight bounds the entries that are chosen and not yet changed:
// one batch is being filled, one is being sent, and two smooth the difference.
// It bounds the memory, and the time in which a chosen entry can turn into
// one that should not have been.
const batchesInFlight = 4

// A Sweep walks the table on one socket and changes chosen entries on another,
// concurrently. The zero Limit changes nothing.
//
// Between the dump that shows an entry and the message that changes it lie
// two datagrams and a few batches: milliseconds on an idle machine, as long as
// the scheduler likes on a busy one. A deletion cannot hit
// another entry that took the tuple meanwhile, because the kernel compares the
// id. But the kernel deletes an entry that is still there and received its first
// reply meanwhile: no kernel compares the status of a single entry.
type Sweep struct {
	NS *netns.NS
	// Query selects the entries that choose receives. Its Box bounds the
	// walk, not the changes. An Unknown feature is proven by the
	// first entries, a change that needs a missing one is refused.
	Query Query
	// Limit is the most entries that are sent to the kernel to be changed.
	Limit uint64
}

// Swept is the result of a sweep.
type Swept struct {
	Change
	Dump Dumped
	// Chosen were sent to the kernel: Done + Gone + Failed, and more only if
	// the sweep ended with an error.
	Chosen uint64
	// Refused were chosen but not sent: they lack a tuple or an id
	// (ErrRefused), or may not be changed (see Age).
	Refused uint64
	// Limited is set if Limit ended the sweep.
	Limited bool
	// Proven is the support of the feature that the sweep needs, DeleteByID or
	// UpdateTimeout, as known at its end.
	Proven Support
}

// Delete deletes the entries that choose picks. The entry is valid until
// choose returns. When the context ends, entries that were chosen before are
// still deleted and the error is the context's.
//
// Unless Query.Features.DeleteByID is Yes, the first entries are deleted one by
// one, after an attempt by a wrong id. If that attempt succeeds, the sweep stops
// with errors.ErrUnsupported.
func (s Sweep) Delete(ctx context.Context, choose func(*conntrack.Entry) bool) (Swept, error) {
	known := s.Query.Features.DeleteByID
	swept, err := s.run(ctx, known, proveDelete, func(b *batch, e *conntrack.Entry, k *Key) (bool, error) {
		if !choose(e) {
			return false, nil
		}
		return true, b.delete(k)
	})
	if err != nil {
		return swept, fmt.Errorf("delete entries: %w", err)
	}
	return swept, nil
}

// Age lowers the remaining time of the entries that choose picks to what it
// returns, in seconds. It never raises one: an entry with less is left alone.
// Entries with a fixed timeout are refused, which kernels before 6.1 would
// change, and offloaded ones, whose time is the flowtable's.
//
// The next packet of a connection restores the time. The kernel does not
// compare the id in an update, so a new connection that took the tuple
// meanwhile is aged in the old one's place.
//
// Unless Query.Features.UpdateTimeout is Yes, the first entries are aged
// one by one and read again, until one shows the time that it was given.
func (s Sweep) Age(ctx context.Context, choose func(*conntrack.Entry) (timeout uint32, ok bool)) (Swept, error) {
	const untouchable = conntrack.StatusFixedTimeout | conntrack.StatusOffload | conntrack.StatusHWOffload
	known := s.Query.Features.UpdateTimeout
	swept, err := s.run(ctx, known, proveUpdate, func(b *batch, e *conntrack.Entry, k *Key) (bool, error) {
		timeout, ok := choose(e)
		if !ok || timeout >= e.Timeout {
			return false, nil
		}
		if e.Status&untouchable != 0 {
			return true, ErrRefused
		}
		return true, b.update(k, timeout)
	})
	if err != nil {
		return swept, fmt.Errorf("age entries: %w", err)
	}
	return swept, nil
}

// visitFunc decides about an entry and adds its change to the batch.
type visitFunc func(b *batch, e *conntrack.Entry, k *Key) (chosen bool, err error)

func (s Sweep) run(ctx context.Context, known Support, prove proof, pick visitFunc) (swept Swept, err error) {
	swept.Proven = known
	if s.Limit == 0 {
		swept.Limited = true
		return swept, nil
	}
	if known == No {
		return swept, fmt.Errorf("this kernel can't: %w", errors.ErrUnsupported)
	}
	reader, err := Dial(s.NS)
	if err != nil {
		return swept, err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	changer, err := startChanger(ctx, s.NS, known, prove)
	if err != nil {
		return swept, err
	}
	return s.walk(ctx, reader, changer, pick)
}

// walk reads on one socket until the table, the limit or the context ends, or the
// other socket fails, and then waits for the batches that it has sent.
func (s Sweep) walk(ctx context.Context, reader *Conn, changer *changer, pick visitFunc) (swept Swept, err error) {
	w := walk{changer: changer, choose: pick, limit: s.Limit}
	swept.Dump, err = reader.dump(ctx, s.Query, w.visit, w.boundary)
	w.sendBatch()
	change, changeErr := changer.finish()
	swept.Change, swept.Chosen, swept.Refused = change, w.chosen, w.refused
	swept.Limited, swept.Proven = w.chosen >= w.limit, changer.known
	return swept, errors.Join(err, changeErr)
}

// A walk is the reading side of a sweep.
type walk struct {
	changer         *changer
	choose          visitFunc
	batch           *batch
	limit           uint64
	chosen, refused uint64
}

func (w *walk) visit(e *conntrack.Entry, k *Key) bool {
	if w.batch == nil {
		w.batch = <-w.changer.free
	}
	chosen, err := w.choose(w.batch, e, k)
	if !chosen {
		return true
	}
	if err != nil {
		w.refused++
		return true
	}
	w.chosen++
	if w.batch.full() {
		w.sendBatch()
	}
	return w.chosen < w.limit
}

// boundary sends a partial batch when the changer is idle, so that a batch that
// fills slowly does not grow old. It stops the dump when the changer has failed.
func (w *walk) boundary() bool {
	if w.batch != nil && w.batch.n > 0 && w.changer.idle() {
		w.sendBatch()
	}
	return !w.changer.failed()
}

func (w *walk) sendBatch() {
	if w.batch != nil && w.batch.n > 0 {
		w.changer.full <- w.batch
		w.batch = nil
	}
}

// A changer sends batches from a goroutine of its own.
type changer struct {
	conn   *Conn
	full   chan *batch // to be sent
	free   chan *batch // sent
	broken chan struct{}
	ended  chan struct{}
	change Change
	err    error
	// prove makes the changes until known is not Unknown.
	known Support
	prove proof
}

func startChanger(ctx context.Context, ns *netns.NS, known Support, prove proof) (*changer, error) {
	conn, err := Dial(ns)
	if err != nil {
		return nil, err
	}
	c := &changer{
		conn:   conn,
		full:   make(chan *batch, batchesInFlight),
		free:   make(chan *batch, batchesInFlight),
		broken: make(chan struct{}),
		ended:  make(chan struct{}),
		known:  known,
		prove:  prove,
	}
	for range batchesInFlight {
		c.free <- newBatch()
	}
	go c.run(ctx)
	return c, nil
}

// run sends every batch that it receives, also after the context has ended: the
// chosen entries are still right to change, and are a few batches at most. After
// an error of the socket it only discards batches.
func (c *changer) run(ctx context.Context) {
	defer close(c.ended)
	ctx = context.WithoutCancel(ctx)
	for b := range c.full {
		if c.err == nil {
			change, err := c.apply(ctx, b)
			c.change.add(change)
			if c.err = err; err != nil {
				close(c.broken)
			}
		}
		b.reset()
		c.free <- b
	}
}

// apply makes the changes of a batch: one by one until the feature is proven, and
// then all at once.
func (c *changer) apply(ctx context.Context, b *batch) (all Change, err error) {
	n := 0
	for ; c.known != Yes && n < b.n; n++ {
		change, known, err := c.prove(ctx, c.conn, b.part(n, n+1))
		all.add(change)
		if c.known = known; known == No {
			err = errors.Join(err, errIDIgnored)
		}
		if err != nil {
			return all, err
		}
	}
	if n > 0 {
		b = b.part(n, b.n)
	}
	change, err := c.conn.apply(ctx, b)
	all.add(change)
	return all, err
}

func (c *changer) idle() bool { return len(c.full) == 0 }

func (c *changer) failed() bool {
	select {
	case <-c.broken:
		return true
	default:
		return false
	}
}

// finish waits for the last batch and closes the socket.
func (c *changer) finish() (Change, error) {
	close(c.full)
	<-c.ended
	return c.change, errors.Join(c.err, c.conn.Close())
}
