package watcher

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
)

// A logPosition is the last record read of the kernel log: Seq in the boot with
// this id. Sequence numbers begin at 0 with each boot; clearing the log does not
// reset them.
type logPosition struct {
	Boot string
	Seq  uint64
}

// readLogPosition returns the position that write saved, or fs.ErrNotExist
// without one.
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

// write replaces the file atomically. The file is not synced: after a loss of
// power there is a new boot with a new log.
func (p logPosition) write(path string) error {
	if path == "" {
		return nil
	}
	if err := writeAtomic(path, fmt.Sprintf("%s %d\n", p.Boot, p.Seq)); err != nil {
		return fmt.Errorf("write place in the kernel log: %w", err)
	}
	return nil
}

// startSeq returns the sequence number from which to read the log, and whether
// there was an earlier run: lines from before the first run are not missed.
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

// save writes the position, if it has changed.
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
