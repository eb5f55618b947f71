package watcher

import "time"

// dedupWindow is how far apart two sources may place one line on
// CLOCK_MONOTONIC: neither tells exactly when the kernel printed it (see
// line.mono).
const dedupWindow = 2 * time.Second

// dedupMemory is how long the second reading of a line may take. The journal's
// is late by what journald is behind, and not acted on from lateAfter on.
const dedupMemory = lateAfter + dedupWindow

// dedupSpan is for how long lines are kept as one entry.
const dedupSpan = time.Second

// maxDedup bounds the entries that wait for their second reading.
const maxDedup = 256

// A dedup lets a line that comes through two sources pass once. Lines about the
// same namespace are interchangeable: of n lines through one source and m
// through the other within the window, the larger number passes. The zero dedup
// is ready.
type dedup struct {
	passed []passed
	newest time.Duration // of all that passed
}

// A passed entry stands for lines that have passed and may come once more.
type passed struct {
	key         lineKey
	source      Source
	first, last time.Duration
	count       uint64
}

// first reports whether a line was not read through another source before.
func (d *dedup) first(l line) bool {
	d.newest = max(d.newest, l.mono)
	second := false
	kept := d.passed[:0]
	for _, p := range d.passed {
		if d.newest-p.last > dedupMemory {
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
	d.passed = kept
	if !second {
		d.keep(l)
	}
	return !second
}

// keep adds what has passed to what passed shortly before, or to the end.
func (d *dedup) keep(l line) {
	for i := range d.passed {
		p := &d.passed[i]
		if p.key == l.lineKey && p.source == l.source && p.first <= l.mono && l.mono-p.first <= dedupSpan {
			p.last, p.count = max(p.last, l.mono), p.count+1
			return
		}
	}
	if len(d.passed) == maxDedup {
		d.passed = append(d.passed[:0], d.passed[1:]...)
	}
	d.passed = append(d.passed, passed{l.lineKey, l.source, l.mono, l.mono, 1})
}
