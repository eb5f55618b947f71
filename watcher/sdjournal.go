//go:build linux && cgo && journald

package watcher

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/coreos/go-systemd/v22/sdjournal"
)

// openJournal opens the journal through libsystemd, which is loaded when it is
// first used, or through journalctl where there is no libsystemd.
func openJournal(cursor string) (Journal, error) {
	lib, err := sdjournal.NewJournal()
	if err != nil {
		return startJournalctl(cursor)
	}
	j := &libsystemdJournal{lib: lib}
	if err := j.seek(cursor); err != nil {
		return nil, errors.Join(err, lib.Close())
	}
	return j, nil
}

func haveLibsystemd() bool {
	lib, err := sdjournal.NewJournal()
	return err == nil && lib.Close() == nil
}

// A libsystemdJournal is the journal by way of libsystemd. It implements Journal.
type libsystemdJournal struct {
	lib *sdjournal.Journal
	// skipCursor is the cursor of the record that was dealt with already: seeking
	// goes to it, not behind it, and may go elsewhere if it is gone.
	skipCursor string
}

func (j *libsystemdJournal) seek(cursor string) error {
	for i, matches := range [][]string{kernelMatches(), lossMatches()} {
		if i > 0 {
			if err := j.lib.AddDisjunction(); err != nil {
				return err
			}
		}
		for _, m := range matches {
			if err := j.lib.AddMatch(m); err != nil {
				return err
			}
		}
	}
	// The first wait sets up the watches: what is added after it is seen.
	j.lib.Wait(0)
	if cursor != "" {
		j.skipCursor = cursor
		return j.lib.SeekCursor(cursor)
	}
	if err := j.lib.SeekTail(); err != nil {
		return err
	}
	// Behind SeekTail, Next would give the last record once more, or not,
	// depending on the files: stand on it instead.
	_, err := j.lib.Previous()
	return err
}

// Next implements Journal.
func (j *libsystemdJournal) Next(ctx context.Context) (Record, bool, error) {
	for {
		n, err := j.lib.Next()
		if err != nil {
			return Record{}, false, err
		}
		if n == 0 {
			if event := j.lib.Wait(journalIdle); event < 0 {
				return Record{}, false, fmt.Errorf("wait for journal: %w", syscall.Errno(-event))
			}
			if ctx.Err() == nil {
				n, err = j.lib.Next()
			}
			if err != nil || n == 0 {
				return Record{}, false, err
			}
		}
		if j.skipCursor != "" {
			same := j.lib.TestCursor(j.skipCursor) == nil
			j.skipCursor = ""
			if same {
				continue
			}
		}
		return j.readRecord()
	}
}

func (j *libsystemdJournal) readRecord() (Record, bool, error) {
	var r Record
	cursor, err := j.lib.GetCursor()
	if err != nil {
		return r, false, err
	}
	if !r.parseCursor(cursor) {
		return r, false, fmt.Errorf("a cursor that is none: %.80q", cursor)
	}
	if r.Text, err = j.lib.GetDataValue("MESSAGE"); errors.Is(err, syscall.ENOENT) {
		return r, true, nil
	} else if err != nil {
		return r, false, err
	}
	if source, err := j.lib.GetDataValue("_SOURCE_MONOTONIC_TIMESTAMP"); err == nil {
		r.parsePrinted(source)
	}
	return r, true, nil
}

// Close implements Journal.
func (j *libsystemdJournal) Close() error { return j.lib.Close() }
