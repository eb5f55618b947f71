package audit

import (
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/ctwarden/ctwarden/internal/record"
)

// What the external tests need of the package: they verify what the log writes,
// and the verifier imports this package.

const AsideNew = asideNew

func Seal(prev Checkpoint, at time.Time, kind record.Kind, inner []byte) (Record, error) {
	return seal(prev, at, kind, inner)
}

func SealPayload(prev Checkpoint, at time.Time, p record.Payload) (Record, error) {
	return sealPayload(prev, at, p)
}

func EncodePayload(p record.Payload) ([]byte, error) { return encodePayload(p) }

func Parse(line []byte) (Record, error) { return parse(line) }

func Printable(line []byte) bool { return printable(line) }

func SegmentName(path string, first uint64) string { return segmentName(path, first) }

func (r Record) Inner() []byte { return r.inner() }

func (r Record) Check() error { return r.check() }

// OpenStepping opens a log that calls step between its steps.
func OpenStepping(path string, o Options, step func(string)) (*Log, error) {
	return open(path, o, step)
}

// SetSync replaces the fsync of the file.
func (l *Log) SetSync(sync func(*os.File) error) { l.sync = sync }

// WriteHalf leaves text in the file as a record that could not be taken back.
func (l *Log) WriteHalf(text string) error {
	_, err := l.file.WriteString(text)
	l.half, l.lost = true, 1
	return err
}

// WriteUnchecked writes a record to the open file, wherever that is by now.
func (l *Log) WriteUnchecked(at time.Time, kind record.Kind) error {
	r, err := seal(l.head, at, kind, nil)
	if err != nil {
		return err
	}
	l.head, l.inFile = r.Checkpoint(), r.Checkpoint()
	return l.write([]Record{r})
}

// SegmentsOf lists the files of the log at path, oldest record first.
func SegmentsOf(path string) ([]Segment, error) {
	open, err := openSegments(path)
	if err != nil {
		return nil, err
	}
	defer closeSegments(open)
	segments := make([]Segment, len(open))
	for i, s := range open {
		segments[i] = s.Segment
	}
	return segments, nil
}

// SetSend replaces journald, and how long it may take.
func (j *Journal) SetSend(timeout time.Duration, send func(string, journal.Priority, map[string]string) error) {
	j.timeout = timeout
	if send != nil {
		j.send = send
	}
}

// AwaitPending waits for the send that was left behind.
func (j *Journal) AwaitPending() {
	<-j.pending
	j.pending = nil
}
