package watcher

import "time"

// twinWindow is how far apart two sources may place one line on
// CLOCK_MONOTONIC: neither tells exactly when the kernel printed it (see
// Signal.Mono).
const twinWindow = 2 * time.Second

// twinMemory is how long the twin of a line may be on its way. The journal's is
// late by what journald is behind, and not acted on from lateAfter on.
const twinMemory = lateAfter + twinWindow

// twinSpan is for how long lines are kept as one entry.
const twinSpan = time.Second

// maxTwins bounds the entries that wait for their twins.
const maxTwins = 256

// Twins makes one signal of a line that came through two sources. Lines of
// the same kind about the same namespace are interchangeable: of n lines
// through one source and m through the other within the window, the larger
// number passes. The zero Twins is ready; it is for one goroutine.
type Twins struct {
	passed []twin
	newest time.Duration // of all that passed
	// Merged counts the lines that had been heard through another source.
	Merged uint64
}

// A twin stands for lines that have passed and may come once more.
type twin struct {
	key         signalKey
	source      Source
	first, last time.Duration
	count       uint64
}

// Single takes off what was heard through another source, and reports whether
// anything of the signal is new.
func (t *Twins) Single(s Signal) (Signal, bool) {
	key := signalKey{s.Kind, s.NetNS, s.Named}
	first, last := s.Mono, max(s.Mono, s.Until)
	t.newest = max(t.newest, last)
	kept := t.passed[:0]
	for _, p := range t.passed {
		if t.newest-p.last > twinMemory {
			continue
		}
		if p.key == key && p.source != s.Source && p.first-last <= twinWindow && first-p.last <= twinWindow {
			both := min(p.count, s.Count)
			p.count -= both
			s.Count -= both
			t.Merged += both
		}
		if p.count > 0 {
			kept = append(kept, p)
		}
	}
	t.passed = kept
	if s.Count == 0 {
		return s, false
	}
	t.keep(twin{key, s.Source, first, last, s.Count})
	return s, true
}

// keep adds what has passed to what passed shortly before, or to the end.
func (t *Twins) keep(n twin) {
	for i := range t.passed {
		p := &t.passed[i]
		if p.key == n.key && p.source == n.source && p.first <= n.first && n.last-p.first <= twinSpan {
			p.last, p.count = max(p.last, n.last), p.count+n.count
			return
		}
	}
	if len(t.passed) == maxTwins {
		t.passed = append(t.passed[:0], t.passed[1:]...)
	}
	t.passed = append(t.passed, n)
}
