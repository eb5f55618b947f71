package watcher

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Source names where a Signal was heard.
type Source string

// The sources.
const (
	SourceKmsg     Source = "kmsg"
	SourceJournald Source = "journald"
)

// A Signal is what the kernel said about connection tracking: one line, or
// several equal ones (same kind, same namespace) that came before anybody
// took the first.
type Signal struct {
	// Message is the line. Of several lines that tell of Suppressed ones, N
	// is the sum. Named with NetNS 0 means several namespaces: more than could
	// be kept apart.
	conntrack.Message
	Source Source
	// Count is the number of equal lines, at least 1.
	Count uint64
	// Seq is the kernel's sequence number of the last of these lines; 0 where
	// the source has none.
	Seq uint64
	// At is when the first of these lines was read, with Go's monotonic
	// reading.
	At time.Time
	// Mono is, on the kernel's CLOCK_MONOTONIC, when the first of these lines
	// was read from the kernel log or, less what it was slower than others,
	// taken in by journald. It is at or shortly after the time that the kernel
	// printed, which go-kmsg-parser loses: it rounds the time of boot to a
	// second. It is what a line that comes through a second source is
	// recognised by. Until is the same of the last of several lines; 0 of one.
	Mono, Until time.Duration
	// Lost is the number of records of the kernel log, of whatever kind, that
	// were overwritten unread since the signal before.
	Lost uint64
}

// A signalKey is what makes two lines equal.
type signalKey struct {
	kind  conntrack.MessageKind
	netns uint32
	named bool
}

// maxBacklog bounds the signals that wait for their reader. Distinct ones
// differ in the namespace; beyond this many, lines of further namespaces are
// counted together. They must not pass for lines without a name, which on
// Linux 6.17 and later mean the initial namespace.
const maxBacklog = 64

// A backlog holds the signals that nobody has taken yet, oldest first, in
// bounded memory. The zero backlog is empty.
type backlog struct {
	waiting []Signal
	place   map[signalKey]int
	lost    uint64
}

func (b *backlog) add(s Signal) {
	key := signalKey{s.Kind, s.NetNS, s.Named}
	if _, ok := b.place[key]; !ok && s.Named && len(b.waiting) >= maxBacklog {
		s.NetNS, key.netns = 0, 0
	}
	if i, ok := b.place[key]; ok {
		w := &b.waiting[i]
		w.Count += s.Count
		if s.Kind == conntrack.Suppressed {
			w.N += s.N
		}
		w.Seq, w.Until = s.Seq, max(w.Until, s.Mono, s.Until)
		return
	}
	if b.place == nil {
		b.place = make(map[signalKey]int)
	}
	b.place[key] = len(b.waiting)
	b.waiting = append(b.waiting, s)
}

// next returns the oldest signal, with the losses up to now.
func (b *backlog) next() Signal {
	s := b.waiting[0]
	s.Lost = b.lost
	return s
}

// taken forgets what next returned.
func (b *backlog) taken() {
	b.lost = 0
	b.waiting = append(b.waiting[:0], b.waiting[1:]...)
	clear(b.place)
	for i, s := range b.waiting {
		b.place[signalKey{s.Kind, s.NetNS, s.Named}] = i
	}
}
