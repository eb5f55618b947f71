package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// A Line is one line of the log as it stands in its file.
type Line struct {
	// File is the segment's name in the log's directory, Number counts from 1.
	File   string
	Number int
	// Record is the record of the line. If Err is set, it has at most a Seq: a
	// guess, as far as it could be read.
	Record Record
	// Err is why the line is no intact record: ErrTorn, ErrPacked, ErrTooLong,
	// or that it is not a record or does not match its hash.
	Err error
}

// Lines calls visit with each line of the log at path, through all its segments,
// and recomputes the hashes. The line is valid during the call. It returns how
// many segments it read, and an error for what it could not read.
func Lines(ctx context.Context, path string, visit func(*Line)) (int, error) {
	segments, err := openSegments(path)
	if err != nil {
		return 0, err
	}
	defer closeSegments(segments)
	for n, s := range segments {
		r, err := s.content()
		if err == nil {
			err = scanLines(ctx, newLines(r), s.File, visit)
		}
		if err != nil {
			return n, err
		}
	}
	return len(segments), nil
}

func scanLines(ctx context.Context, l *lines, file string, visit func(*Line)) error {
	for {
		if l.no&0x3ff == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		text, err := l.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		line := Line{File: file, Number: l.no, Err: err}
		last := false
		switch {
		case err == nil:
			if line.Record, line.Err = parse(text); line.Err == nil {
				line.Err = line.Record.check()
			}
		case errors.Is(err, ErrTooLong):
		case errors.Is(err, ErrTorn), errors.Is(err, ErrPacked):
			line.Number, last = l.no+1, true
		default:
			return fmt.Errorf("read %s: %w", file, err)
		}
		if line.Err != nil {
			line.Record = Record{}
			if h, ok := parseHeader(text); ok {
				line.Record.Seq = h.seq
			}
		}
		visit(&line)
		if last {
			return nil
		}
	}
}
