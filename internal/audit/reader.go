package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/internal/record"
)

// A Filter chooses records. The zero Filter chooses all.
type Filter struct {
	// Since and Until bound the record's time, Since included and Until not;
	// zero is no bound. The clock of a host may have been stepped, so the
	// records chosen need not be adjacent.
	Since, Until time.Time
	// After chooses records with greater sequence numbers only.
	After uint64
	// Last, unless it is 0, chooses records up to this sequence number only.
	Last uint64
	// Kinds are the kinds to choose; none chooses every kind.
	Kinds []record.Kind
	// Incident is the value of the payload's field "incident".
	Incident string
}

// Read yields the chosen records of the log at path, oldest first, through
// all its segments as they stand when it begins. A record is valid until the
// next iteration (see Record.Clone). A line that is not a record yields a
// *LineError and reading goes on; any other error is the last. Read does not
// check the hashes, as Lines does, and leaves out an unfinished last line.
func Read(ctx context.Context, path string, f Filter) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		segments, err := openSegments(path)
		if err != nil {
			yield(Record{}, fmt.Errorf("read audit log: %w", err))
			return
		}
		defer closeSegments(segments)
		prefetch(func(to *prefetcher[readItem]) {
			readSegments(ctx, segments, f, func(r Record, err error) bool {
				if r.line != nil {
					r.line = to.keep(r.line)
				}
				return to.put(readItem{r, err})
			})
		}, func(i readItem) bool { return yield(i.record, i.err) })
	}
}

// A readItem is one thing that Read yields.
type readItem struct {
	record Record
	err    error
}

func readSegments(ctx context.Context, segments []*segmentFile, f Filter, yield func(Record, error) bool) {
	m := newMatcher(f)
	for i, s := range segments {
		if i+1 < len(segments) && skippable(segments[i+1].First, f.After) || f.Last > 0 && s.First > f.Last {
			continue
		}
		r, err := s.content()
		if err != nil {
			yield(Record{}, fmt.Errorf("read audit log: %w", err))
			return
		}
		if !readLines(ctx, newLines(r), s.File, m, yield) {
			return
		}
	}
}

// skippable reports whether everything before a segment that begins with
// record first is at or before after.
func skippable(first, after uint64) bool { return first > 0 && first <= after+1 && after > 0 }

// readLines yields the records that m chooses until the input ends; false ends
// reading.
func readLines(ctx context.Context, l *lines, file string, m *matcher, yield func(Record, error) bool) bool {
	for {
		if l.no&0x3ff == 0 && ctx.Err() != nil {
			yield(Record{}, fmt.Errorf("read audit log: %w", context.Cause(ctx)))
			return false
		}
		text, err := l.next()
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, ErrTorn):
			return true
		case errors.Is(err, ErrPacked):
			return yield(Record{}, &LineError{File: file, Line: l.no + 1, Err: err})
		case errors.Is(err, ErrTooLong):
			if !yield(Record{}, &LineError{File: file, Line: l.no, Err: err}) {
				return false
			}
			continue
		case err != nil:
			yield(Record{}, fmt.Errorf("read %s: %w", file, err))
			return false
		}
		r, ok, err := m.match(text)
		if err != nil {
			err = &LineError{File: file, Line: l.no, Err: err}
		}
		if (ok || err != nil) && !yield(r, err) {
			return false
		}
	}
}

// A matcher is a Filter made ready for many lines.
type matcher struct {
	filter       Filter
	since, until []byte // as in a line; nil is no bound
	incident     []byte // the field as it stands in a line
	seen         uint64 // the greatest sequence number so far
}

func newMatcher(f Filter) *matcher {
	m := &matcher{filter: f}
	if !f.Since.IsZero() {
		m.since = f.Since.UTC().AppendFormat(nil, timeLayout)
	}
	if !f.Until.IsZero() {
		m.until = f.Until.UTC().AppendFormat(nil, timeLayout)
	}
	if f.Incident != "" {
		if quoted, err := json.Marshal(f.Incident); err == nil {
			m.incident = appendASCII([]byte(`"incident":`), quoted)
		}
	}
	return m
}

// skipSeen makes the matcher choose only records that it has not seen yet.
func (m *matcher) skipSeen() { m.filter.After = max(m.filter.After, m.seen) }

// match reads the fixed beginning of a line, and the rest only if that fits.
func (m *matcher) match(line []byte) (Record, bool, error) {
	h, ok := parseHeader(line)
	if !ok || len(line) < h.body+tailText {
		return Record{}, false, errNotRecord
	}
	m.seen = max(m.seen, h.seq)
	switch {
	case h.seq <= m.filter.After,
		m.filter.Last > 0 && h.seq > m.filter.Last,
		m.since != nil && bytes.Compare(h.time, m.since) < 0,
		m.until != nil && bytes.Compare(h.time, m.until) >= 0,
		len(m.filter.Kinds) > 0 && !slices.Contains(m.filter.Kinds, h.kind),
		m.incident != nil && !bytes.Contains(line[h.body:], m.incident):
		return Record{}, false, nil
	}
	if !printable(line) {
		return Record{}, false, errNotRecord
	}
	r, err := h.record(line)
	if err != nil {
		return Record{}, false, err
	}
	// The search in the text may have matched deeper in the payload, or in a
	// string.
	return r, m.incident == nil || record.Incident(line) == m.filter.Incident, nil
}

// Last returns the last intact record of the log at path, and false if it
// holds none.
func Last(path string) (Record, bool, error) {
	segments, err := openSegments(path)
	if err != nil {
		return Record{}, false, fmt.Errorf("read audit log: %w", err)
	}
	defer closeSegments(segments)
	for _, s := range slices.Backward(segments) {
		last, err := s.lastRecord()
		if err != nil {
			return Record{}, false, fmt.Errorf("read %s: %w", s.File, err)
		}
		if last.Seq > 0 {
			return last, true, nil
		}
	}
	return Record{}, false, nil
}
