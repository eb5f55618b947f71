package diagnosis

import (
	"bufio"
	"errors"
	"io"
	"strings"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// lineBytes is more than any line of a table; what is longer is not one.
const lineBytes = 16 << 10

// ReadText counts the entries of a text, as /proc/net/nf_conntrack and
// conntrack -L print them, up to its end. A text has neither max nor timeouts:
// idle times are by the kernel's defaults. Lines that are no entry are counted
// as Unread; a text without any entry is not an error. An error is that of in.
func ReadText(in io.Reader, limits *policy.Limits, protect conntrack.Protect) (*Census, error) {
	// The zero moment is that of no census.
	l := begin(fromText, limits, protect, policy.Observation{Now: 1, Timeouts: conntrack.DefaultTimeouts()})
	if err := l.readLines(bufio.NewReaderSize(in, lineBytes)); err != nil {
		return nil, err
	}
	l.Observation.Table.Entries = l.Census.Summary.Seen
	return l, nil
}

func (l *Census) readLines(in *bufio.Reader) error {
	for {
		line, err := in.ReadSlice('\n')
		l.Reading.Bytes += uint64(len(line))
		tooLong := false
		for errors.Is(err, bufio.ErrBufferFull) {
			tooLong = true
			line, err = in.ReadSlice('\n')
			l.Reading.Bytes += uint64(len(line))
		}
		l.readLine(string(line), tooLong)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (l *Census) readLine(line string, tooLong bool) {
	if !tooLong && (strings.TrimSpace(line) == "" || strings.HasPrefix(line, "conntrack v")) {
		return // the end of what conntrack prints
	}
	e, err := conntrack.ParseEntry(line)
	if tooLong || err != nil {
		l.Reading.Unread++
		return
	}
	l.Add(&e)
}
