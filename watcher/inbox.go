package watcher

import (
	"sync"
	"time"

	"github.com/ctwarden/ctwarden/policy"
)

// A Source names where a line was read.
type Source string

// The sources.
const (
	SourceKmsg     Source = "kmsg"
	SourceJournald Source = "journald"
)

// A line is one line of the kernel about a full table.
type line struct {
	lineKey
	source Source
	// mono is, on the kernel's CLOCK_MONOTONIC, when the line was read from the
	// kernel log or received by journald, less its own delay. It is at or
	// shortly after the time that the kernel printed, which go-kmsg-parser
	// loses: it rounds the time of boot to a second. dedup recognises by mono a
	// line that a second source has read.
	mono time.Duration
}

// A lineKey is equal for lines about the same table.
type lineKey struct {
	netns uint32
	named bool
}

// maxSignals bounds the signals that wait. Distinct ones differ in the
// namespace; beyond this many, lines of further namespaces are counted
// together. They must not pass for lines without a name, which on Linux 6.17
// and later mean the initial namespace.
const maxSignals = 64

// An Inbox holds the kernel's lines that the loop has not drained yet: every
// line once, even if two sources read it, equal lines counted together, in
// bounded memory. The sources never wait for the loop. Make one with
// NewInbox; its methods may be called by any goroutine.
type Inbox struct {
	wake chan struct{}

	mu      sync.Mutex
	dedup   dedup
	signals []policy.Signal // oldest first
	lost    uint64          // records since the last signal that was drained
}

// NewInbox returns an empty Inbox.
func NewInbox() *Inbox { return &Inbox{wake: make(chan struct{}, 1)} }

// Wake returns a channel that receives once when there is something to drain.
func (b *Inbox) Wake() <-chan struct{} { return b.wake }

// Drain returns the signals since the last call, oldest first, and empties
// the inbox.
func (b *Inbox) Drain() []policy.Signal {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.wake:
	default:
	}
	signals := b.signals
	b.signals = nil
	if len(signals) > 0 {
		signals[0].Lost, b.lost = b.lost, 0
	}
	return signals
}

// enqueue adds a line, unless another source has added it.
func (b *Inbox) enqueue(l line) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.dedup.isNew(l) {
		return
	}
	s := policy.Signal{NetNS: l.netns, Named: l.named, Count: 1, Source: string(l.source)}
	if !b.merge(&s) {
		if len(b.signals) >= maxSignals && s.Named {
			s.NetNS = 0
		}
		if !b.merge(&s) {
			b.signals = append(b.signals, s)
		}
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// merge adds a signal to a waiting one that is equal, if there is one.
func (b *Inbox) merge(s *policy.Signal) bool {
	for i := range b.signals {
		w := &b.signals[i]
		if w.NetNS == s.NetNS && w.Named == s.Named && w.Source == s.Source {
			w.Count++
			return true
		}
	}
	return false
}

// addLost counts records that were overwritten unread.
func (b *Inbox) addLost(n uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost += n
}
