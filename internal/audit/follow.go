package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"
)

// Follow yields the records of Read and then, at every tick until ctx is done,
// the appended ones. It survives rotation, by the log itself or by logrotate,
// and the healing of a torn line. A record is valid until the next iteration.
func Follow(ctx context.Context, path string, f Filter, ticks <-chan time.Time) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		t := &tail{path: path, m: newMatcher(f)}
		defer t.close()
		for {
			ok, err := t.advance(ctx, yield)
			if err != nil && ctx.Err() == nil {
				yield(Record{}, fmt.Errorf("follow audit log: %w", err))
			}
			if !ok || err != nil {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-ticks:
			}
		}
	}
}

// A tail is the place in the log up to which a follower has read.
type tail struct {
	path    string
	m       *matcher
	current *segmentFile // nil before the first segment and between two
	lines   *lines
}

func (t *tail) close() {
	if t.current != nil {
		t.current.f.Close()
	}
	t.current = nil
}

// advance yields every record that is there now; false ends the following.
func (t *tail) advance(ctx context.Context, yield func(Record, error) bool) (bool, error) {
	if t.current != nil {
		replaced, err := t.replaced()
		if err != nil {
			return false, err
		}
		// The old file still has the records from between the last tick and the
		// rotation, so it is read to its end first.
		if ok, err := t.drain(ctx, yield); !ok || err != nil || !replaced {
			return ok, err
		}
	}
	return t.reopen(ctx, yield)
}

// replaced reports whether path no longer names the file that is open.
func (t *tail) replaced() (bool, error) {
	info, err := os.Lstat(t.path)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return !os.SameFile(info, t.current.info), nil
}

// drain reads the open file to its end.
func (t *tail) drain(ctx context.Context, yield func(Record, error) bool) (bool, error) {
	info, err := t.current.f.Stat()
	if err != nil {
		return false, err
	}
	if info.Size() < t.lines.off {
		// copytruncate, or an edit: the lines read so far are gone.
		t.lines.off, t.lines.no = 0, 0
		t.m.skipSeen()
	}
	// A line that was incomplete may have been healed since, so it is read
	// again from its beginning.
	if _, err := t.current.f.Seek(t.lines.off, io.SeekStart); err != nil {
		return false, err
	}
	t.lines.br.Reset(t.current.f)
	if t.lines.off > 0 && t.strange() {
		if _, err := t.current.f.Seek(0, io.SeekStart); err != nil {
			return false, err
		}
		t.lines.br.Reset(t.current.f)
		t.lines.off, t.lines.no = 0, 0
		t.m.skipSeen()
	}
	return readLines(ctx, t.lines, t.current.File, t.m, yield), nil
}

// strange reports whether the next line is not the one that follows. The file
// may have been truncated and have grown again between two ticks, so that
// there is more to read at its beginning.
func (t *tail) strange() bool {
	text, _ := t.lines.br.Peek(MaxLine)
	h, ok := parseHeader(text)
	if !ok {
		return bytes.IndexByte(text, '\n') >= 0
	}
	return h.seq > t.m.seen+1
}

// reopen reads the segments that may hold more than was read, and stays in
// the one that is being written. The file that was open may be among them:
// a writer that has not noticed logrotate yet adds one more record to it.
func (t *tail) reopen(ctx context.Context, yield func(Record, error) bool) (bool, error) {
	t.close()
	t.m.skipSeen()
	segments, err := openSegments(t.path)
	if err != nil {
		return false, err
	}
	for i, s := range segments {
		if i+1 < len(segments) && skippable(segments[i+1].First, t.m.filter.After) {
			s.f.Close()
			continue
		}
		r, err := s.content()
		if err != nil {
			closeSegments(segments[i:])
			return false, err
		}
		t.lines = newLines(r)
		ok := readLines(ctx, t.lines, s.File, t.m, yield)
		if s.Current {
			t.current = s
		} else {
			s.f.Close()
		}
		if !ok {
			closeSegments(segments[i+1:])
			return false, nil
		}
	}
	return true, nil
}
