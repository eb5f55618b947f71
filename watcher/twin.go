package watcher

import "time"

// twinWindow is how far apart two sources may read one line. Both times are
// those of reading, on CLOCK_MONOTONIC: the time that the kernel printed is
// lost on the way through /dev/kmsg (see Signal.Mono), and on another clock.
const twinWindow = 2 * time.Second

// maxTwins bounds the signals that wait for their twins.
const maxTwins = 256

// Twins makes one signal of a line that came through two sources. Lines of
// the same kind about the same namespace are interchangeable: of n lines
// through one source and m through the other within the window, the larger
// number passes. The zero Twins is ready; it is for one goroutine.
type Twins struct {
	passed []twin
	// Merged counts the lines that had been heard through another source.
	Merged uint64
}

// A twin is a signal that has passed and whose lines may come once more.
type twin struct {
	key    signalKey
	source Source
	mono   time.Duration
	count  uint64
}

// Single takes off what was heard through another source, and reports whether
// anything of the signal is new.
func (t *Twins) Single(s Signal) (Signal, bool) {
	key := signalKey{s.Kind, s.NetNS, s.Named}
	kept := t.passed[:0]
	for _, p := range t.passed {
		if s.Mono-p.mono > twinWindow {
			continue
		}
		if p.key == key && p.source != s.Source && p.mono-s.Mono <= twinWindow {
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
	if len(t.passed) == maxTwins {
		t.passed = append(t.passed[:0], t.passed[1:]...)
	}
	t.passed = append(t.passed, twin{key, s.Source, s.Mono, s.Count})
	return s, true
}
