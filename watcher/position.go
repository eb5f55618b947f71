package watcher

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
)

// A logPosition is how far the kernel log was read: up to the record Seq of the
// boot with this id. Sequence numbers begin anew with each boot, and go on
// where the log is cleared.
type logPosition struct {
	Boot string
	Seq  uint64
}

// readLogPosition returns what write left. It is fs.ErrNotExist if nothing did.
func readLogPosition(path string) (logPosition, error) {
	if path == "" {
		return logPosition{}, fs.ErrNotExist
	}
	text, err := readBounded(path)
	if err != nil {
		return logPosition{}, fmt.Errorf("read place in the kernel log: %w", err)
	}
	boot, digits, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	seq, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || boot == "" || seq == math.MaxUint64 || len(text) > 1024 {
		return logPosition{}, fmt.Errorf("read place in the kernel log: %s holds none", path)
	}
	return logPosition{boot, seq}, nil
}

// write replaces the file whole. It is not synced: after a loss of power
// another boot begins, whose log is another one.
func (p logPosition) write(path string) error {
	if path == "" {
		return nil
	}
	if err := writeAtomic(path, fmt.Sprintf("%s %d\n", p.Boot, p.Seq)); err != nil {
		return fmt.Errorf("write place in the kernel log: %w", err)
	}
	return nil
}

// startSeq finds out from which record on the log is to be read, and whether an
// earlier run has been there at all: what was said before the first one was
// not missed.
func (k *Kmsg) startSeq() (from uint64, been bool) {
	place, err := readLogPosition(k.PositionPath)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, false
	case err != nil:
		k.update(func(s *Status) { s.Err = err })
		return 0, false
	case place.Boot != k.Boot:
		return 0, true // the earlier run ended before this boot
	}
	return place.Seq + 1, true
}

// save keeps the place, if it has changed.
func (k *Kmsg) save() {
	if !k.hasSeen || k.saved && k.seen == k.savedSeq {
		return
	}
	k.savedAt = monotonic()
	if err := (logPosition{k.Boot, k.seen}).write(k.PositionPath); err != nil {
		k.update(func(s *Status) { s.Err = err })
		return
	}
	k.saved, k.savedSeq = true, k.seen
}
