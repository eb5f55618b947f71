package watcher

import "time"

// dedupWindow is how far apart two sources may place one line on
// CLOCK_MONOTONIC: neither has the exact time at which the kernel printed it
// (see line.mono).
const dedupWindow = 2 * time.Second

// dedupRetention is how long the second reading of a line may take. The journal's
// may be up to maxLineAge late, and is not enqueued after that.
const dedupRetention = maxLineAge + dedupWindow

// dedupSpan is the longest time between the first and the last line of one
// seenLines.
const dedupSpan = time.Second

// maxDedup bounds the entries that wait for their second reading.
const maxDedup = 256

// A dedup lets a line that comes through two sources pass once. Lines about the
// same namespace are interchangeable: of n lines through one source and m
// through the other within the window, the larger number passes. The zero dedup
// is ready.
type dedup struct {
	seen   []seenLines
	newest time.Duration // of all that passed
}

// A seenLines entry stands for lines that have passed and may come once more.
type seenLines struct {
	key         lineKey
	source      Source
	first, last time.Duration
	count       uint64
}

// isNew reports whether a line was not read through another source before.
func (d *dedup) isNew(l line) bool {
	d.newest = max(d.newest, l.mono)
	second := false
	kept := d.seen[:0]
	for _, p := range d.seen {
		if d.newest-p.last > dedupRetention {
			continue
		}
		if !second && p.key == l.lineKey && p.source != l.source && p.first-l.mono <= dedupWindow && l.mono-p.last <= dedupWindow {
			second = true
			p.count--
		}
		if p.count > 0 {
			kept = append(kept, p)
		}
	}
	d.seen = kept
	if !second {
		d.add(l)
	}
	return !second
}

// add adds what has passed to what passed shortly before, or to the end.
func (d *dedup) add(l line) {
	for i := range d.seen {
		p := &d.seen[i]
		if p.key == l.lineKey && p.source == l.source && p.first <= l.mono && l.mono-p.first <= dedupSpan {
			p.last, p.count = max(p.last, l.mono), p.count+1
			return
		}
	}
	if len(d.seen) == maxDedup {
		d.seen = append(d.seen[:0], d.seen[1:]...)
	}
	d.seen = append(d.seen, seenLines{l.lineKey, l.source, l.mono, l.mono, 1})
}
