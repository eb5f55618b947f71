package watcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A Record is one kernel line in the journal.
type Record struct {
	// Cursor names the record; a later reading continues after it.
	Cursor string
	Text   string
	// Printed is when the kernel printed the line, on the clock of printk,
	// which drifts against every other one. 0 if the journal has no such field.
	Printed time.Duration
	// Boot is the id of the boot in which journald received the line, without
	// dashes. Mono is the time of receipt on CLOCK_MONOTONIC, At the same on the
	// wall clock.
	Boot string
	Mono time.Duration
	At   time.Time
}

// A Journal is the open journal, behind a cursor.
type Journal interface {
	// Next returns the next record. It waits for at most journalIdle, and
	// returns false if there is none by then.
	Next(ctx context.Context) (Record, bool, error)
	Close() error
}

// journalIdle is how long Next waits for a record.
const journalIdle = 500 * time.Millisecond

// kernelMatches match the kernel's own lines. A line that a program wrote to
// /dev/kmsg has the transport of the kernel too, but never facility 0; one that
// a program sent through a socket can have facility 0, but not that transport:
// journald drops fields with a leading underscore from what it receives.
func kernelMatches() []string { return []string{"_TRANSPORT=kernel", "SYSLOG_FACILITY=0"} }

// lossMatches match journald's report of lost records,
// SD_MESSAGE_JOURNAL_MISSED of sd-messages.h.
func lossMatches() []string {
	return []string{"_TRANSPORT=driver", "MESSAGE_ID=e9bf28e6e834481bb6f48f548ad13606"}
}

// ErrNoJournal reports that this machine has no journal to read.
var ErrNoJournal = errors.New("no journal")

// CheckJournal returns ErrNoJournal unless journald runs and its journal can be
// read. An empty root is "/".
func CheckJournal(root string) error {
	if _, err := os.Stat(filepath.Join("/", root, "run/systemd/journal/socket")); err != nil {
		return fmt.Errorf("%w: journald does not run: %w", ErrNoJournal, err)
	}
	if !haveLibsystemd() {
		if _, err := exec.LookPath(journalctl); err != nil {
			return fmt.Errorf("%w: %w", ErrNoJournal, err)
		}
	}
	return checkReadable(root)
}

// checkReadable opens the journal of the system. Without the right to read it,
// neither libsystemd nor journalctl --follow fails: they read the files that
// they may, which have no kernel lines.
func checkReadable(root string) error {
	var refused error
	for _, dir := range []string{"run/log/journal", "var/log/journal"} {
		files, err := filepath.Glob(filepath.Join("/", root, dir, "*", "system.journal"))
		if err != nil {
			return err // the pattern is wrong, which a test would have found
		}
		for _, path := range files {
			f, err := os.Open(path)
			if err == nil {
				return f.Close()
			}
			if errors.Is(err, os.ErrPermission) {
				refused = err
			}
		}
	}
	if refused != nil {
		return fmt.Errorf("%w that may be read, which takes the group systemd-journal: %w", ErrNoJournal, refused)
	}
	return nil // journald has just begun
}

// parseCursor reads a cursor of the journal, such as "s=…;i=a3;b=BOOT;m=MONO;t=REAL;x=…"
// with the numbers in hexadecimal microseconds. The cursor has the values of
// three fields, which need not be read one by one.
func (r *Record) parseCursor(cursor string) bool {
	r.Cursor = cursor
	found := 0
	for part := range strings.SplitSeq(cursor, ";") {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "b":
			r.Boot = value
			found++
		case "m", "t":
			micros, err := strconv.ParseInt(value, 16, 64)
			if err != nil || micros < 0 || micros > maxMicros {
				return false
			}
			if key == "m" {
				r.Mono = time.Duration(micros) * time.Microsecond
			} else {
				r.At = time.UnixMicro(micros)
			}
			found++
		}
	}
	return found == 3
}

// parsePrinted reads the field _SOURCE_MONOTONIC_TIMESTAMP: decimal microseconds.
func (r *Record) parsePrinted(micros string) {
	n, err := strconv.ParseInt(micros, 10, 64)
	if err == nil && n >= 0 && n <= maxMicros {
		r.Printed = time.Duration(n) * time.Microsecond
	}
}

// missedMessages returns N of journald's "Missed N kernel messages".
func missedMessages(text string) uint64 {
	number, ok := strings.CutPrefix(text, "Missed ")
	if !ok {
		return 0
	}
	number, ok = strings.CutSuffix(number, " kernel messages")
	n, err := strconv.ParseUint(number, 10, 32)
	if !ok || err != nil {
		return 0
	}
	return n
}

// readCursor returns the cursor that writeCursor saved, or "" without one.
func readCursor(path string) (string, error) {
	text, err := readBounded(path)
	if errors.Is(err, os.ErrNotExist) || path == "" {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read cursor: %w", err)
	}
	var r Record
	cursor := strings.TrimSpace(string(text))
	if len(cursor) > 1024 || strings.ContainsAny(cursor, "\x00\n ") || !r.parseCursor(cursor) {
		return "", fmt.Errorf("read cursor: %s holds none", path)
	}
	return cursor, nil
}

// writeCursor replaces the file atomically. The file is not synced: an older
// cursor only has lines counted as missed that were read before.
func writeCursor(path, cursor string) error {
	if path == "" || cursor == "" {
		return nil
	}
	if err := writeAtomic(path, cursor+"\n"); err != nil {
		return fmt.Errorf("write cursor: %w", err)
	}
	return nil
}

// writeAtomic replaces a file by a rename.
func writeAtomic(path, text string) error {
	next := path + ".new"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}
