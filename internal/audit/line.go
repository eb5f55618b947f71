package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// ErrTorn reports that the input ended in the middle of a line.
var ErrTorn = errors.New("line without an end")

// A LineError reports that a line of a segment is not a record. Reading goes on
// behind it.
type LineError struct {
	File string // name in the log's directory
	Line int    // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("read %s line %d: %v", e.File, e.Line, e.Err) }

// Unwrap returns Err.
func (e *LineError) Unwrap() error { return e.Err }

// readBuffer holds a longest line whole, and enough lines for one read call
// to be worth it.
const readBuffer = 4 * MaxLine

// lines splits a segment into lines in bounded memory.
type lines struct {
	br  *bufio.Reader
	no  int   // number of the line returned last
	off int64 // where the next line begins
}

func newLines(r io.Reader) *lines { return &lines{br: bufio.NewReaderSize(r, readBuffer)} }

// next returns the next line without its newline, valid until the next call.
// It returns ErrTooLong and the line's beginning for a line that no record
// can have, ErrTorn with what there is for an input that ends inside a line,
// and io.EOF.
func (l *lines) next() ([]byte, error) {
	text, err := l.br.ReadSlice('\n')
	switch {
	case err == nil:
		l.no++
		l.off += int64(len(text))
		if len(text) > MaxLine {
			return text[:MaxLine], ErrTooLong
		}
		return text[:len(text)-1], nil
	case errors.Is(err, bufio.ErrBufferFull):
		return l.skip(text)
	case errors.Is(err, io.EOF) && len(text) > 0:
		return text, ErrTorn
	}
	return nil, err
}

// skip leaves an over-long line behind and returns its beginning.
func (l *lines) skip(text []byte) ([]byte, error) {
	start := append([]byte(nil), text[:min(len(text), 256)]...)
	size := int64(len(text))
	for {
		text, err := l.br.ReadSlice('\n')
		size += int64(len(text))
		switch {
		case err == nil:
			l.no++
			l.off += size
			return start, ErrTooLong
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return start, ErrTorn
		default:
			return nil, err
		}
	}
}
