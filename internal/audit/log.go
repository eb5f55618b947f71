package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/ctwarden/ctwarden/internal/record"
)

var (
	// ErrNotDurable reports that a record is neither in the file nor with the
	// mirror: what it announces must not be done. It wraps the cause, such
	// as syscall.ENOSPC.
	ErrNotDurable = errors.New("record is not durable")
	// ErrInUse reports that another process writes the log.
	ErrInUse = errors.New("audit log is in use by another process")
	// ErrNotMirrored is what a Mirror returns for a record that it leaves out on
	// purpose: there is no notice, and no copy.
	ErrNotMirrored = errors.New("kind is not mirrored")

	errClosed = errors.New("audit log is closed")
)

// Options are the ways in which logs differ. The zero Options keep one file
// for ever, without a mirror.
type Options struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Mirror gets every record after the file did. Where the file cannot be
	// written, a record that Mirror takes counts as durable. Mirror is called
	// by one goroutine at a time and must not block for long: Append waits.
	Mirror func(Record) error
	// Notice receives, once per change, the error of the log, also when it set a
	// file aside. Optional.
	Notice func(error)
	// SegmentSize (bytes) and SegmentAge bound the file that is written; 0
	// is no bound.
	SegmentSize int64
	SegmentAge  time.Duration
	// KeepSize (bytes of all segments) and KeepAge (of a segment's last
	// record) bound what is kept; 0 is no bound. A segment that an open
	// incident began in, or a later one, stays whatever they are.
	KeepSize int64
	KeepAge  time.Duration
	// SegmentHeader returns a record that every file but the first begins with, so
	// that it still has what the later ones need when retention has removed
	// the earlier ones. It is called while the log is held: it must not call
	// it. Optional.
	SegmentHeader func() record.Payload
}

// A Log is an audit log that is open for writing. Its methods may be called
// from several goroutines.
type Log struct {
	path string
	opts Options
	dir  *os.File // locked while the Log is open

	mu    sync.Mutex
	file  *os.File // nil while there is none to write to
	info  os.FileInfo
	size  int64     // bytes of whole records in file
	first uint64    // sequence number of the first record in file
	born  time.Time // when that was written

	head   Checkpoint // the last record of the chain
	inFile Checkpoint // the last record of the chain that a file holds

	half   bool             // bytes behind size are ours and no whole record
	excess record.GapReason // bytes behind size are not ours; why
	cut    bool             // the file lost records that it had
	lost   uint64           // records that are nowhere since the last gap record
	cause  error            // the first reason for that
	gaps   []record.Gap     // to be written before the next record
	retain bool             // check for segments to remove

	openIncidents openIncidents
	reported      map[topic]string

	// sync and step are for tests: a disk that fails, a process that dies.
	sync func(*os.File) error
	step func(string)
}

// Open opens the log at path for writing, or makes it with mode 0640, and
// continues its chain. An incomplete last line is moved aside and recorded; a
// file that holds no record is set aside whole. The directory must exist.
func Open(path string, o Options) (*Log, error) {
	return open(path, o, func(string) {})
}

func open(path string, o Options, step func(string)) (*Log, error) {
	l := &Log{path: filepath.Clean(path), opts: o, reported: make(map[topic]string), openIncidents: openIncidents{}, sync: (*os.File).Sync, step: step, retain: true}
	if l.opts.Now == nil {
		l.opts.Now = time.Now
	}
	if err := l.lock(); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	err := l.findHead()
	if err == nil {
		err = l.findAside()
	}
	if err == nil {
		err = l.openFile()
	}
	if err != nil {
		l.closeFile()
		l.dir.Close()
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	return l, nil
}

// lock locks the directory and not the file, because the file changes.
func (l *Log) lock() error {
	dir, err := os.Open(filepath.Dir(l.path))
	if err != nil {
		return err
	}
	err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		dir.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return ErrInUse
		}
		return fmt.Errorf("lock %s: %w", filepath.Dir(l.path), err)
	}
	l.dir = dir
	return nil
}

// Head returns the last record of the chain, in the file or with the mirror.
func (l *Log) Head() Checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// A Health counts the records that the file is missing at the moment. The zero
// Health is a file that holds all.
type Health struct {
	// Lost counts records that exist nowhere, and MirrorOnly those that only
	// the mirror has, since the file was last written.
	Lost       uint64 `json:"lost"`
	MirrorOnly uint64 `json:"mirror_only"`
	// Err is the first error since the file was last written.
	Err error `json:"-"`
}

// Health returns the health of the log.
func (l *Log) Health() Health {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Health{Lost: l.lost, MirrorOnly: l.head.Seq - l.inFile.Seq, Err: l.cause}
}

// Append writes one record and returns when it is on the disk. The fields of
// the payload's JSON become the record's own. Errors: ErrPayload and ErrTooLong,
// for a payload that no record can have, and ErrNotDurable.
func (l *Log) Append(p record.Payload) (Record, error) {
	kind := p.Kind()
	if !kind.Known() {
		return Record{}, fmt.Errorf("append record: %w: unknown kind %q", ErrPayload, kind)
	}
	inner, err := encodePayload(p)
	if err != nil {
		return Record{}, fmt.Errorf("append %s record: %w", kind, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dir == nil {
		return Record{}, fmt.Errorf("append %s record: %w: %w", kind, ErrNotDurable, errClosed)
	}
	at := l.opts.Now()
	// A first try: an over-long payload is refused before anything is counted
	// as lost.
	if _, err := seal(l.head, at, kind, inner); err != nil {
		return Record{}, fmt.Errorf("append %s record: %w", kind, err)
	}
	r, err := l.toFile(at, p, inner)
	if err != nil {
		r, err = l.toMirror(at, p, inner, err)
	} else {
		l.mirror(r) //nolint:errcheck // notice reports it; the file has the record
		if l.retain {
			l.removeOld(at)
		}
	}
	if err != nil {
		return Record{}, fmt.Errorf("append %s record: %w", kind, err)
	}
	l.openIncidents.note(r)
	return r, nil
}

// toFile writes one record, and before it whatever gaps are not recorded yet.
// All go out in one write: on a disk that is nearly full, a gap record alone
// would often fit where the record behind it does not.
// A nil payload writes those gaps alone.
func (l *Log) toFile(at time.Time, p record.Payload, inner []byte) (Record, error) {
	if err := l.prepare(at); err != nil {
		return Record{}, err
	}
	var batch []Record
	head := l.head
	for _, g := range l.pendingGaps() {
		r, err := sealPayload(head, at, &g)
		if err != nil {
			return Record{}, err
		}
		batch = append(batch, r)
		head = r.Checkpoint()
	}
	if r, ok := l.segmentHeader(head, at, p); ok {
		batch = append(batch, r)
		head = r.Checkpoint()
	}
	if p != nil {
		r, err := seal(head, at, p.Kind(), inner)
		if err != nil {
			return Record{}, err
		}
		r.payload = p
		batch = append(batch, r)
	}
	if err := l.write(batch); err != nil {
		return Record{}, err
	}
	last := batch[len(batch)-1]
	l.head, l.inFile = last.Checkpoint(), last.Checkpoint()
	l.settle()
	if p != nil {
		batch = batch[:len(batch)-1]
	}
	for _, r := range batch {
		l.mirror(r) //nolint:errcheck // notice reports it; the file has the record
	}
	return last, nil
}

// segmentHeader returns the record that a new file begins with, unless it begins
// with one of that kind. Without it the file is whole all the same.
func (l *Log) segmentHeader(head Checkpoint, at time.Time, before record.Payload) (Record, bool) {
	if l.opts.SegmentHeader == nil || l.first != 0 || l.head.Seq == 0 {
		return Record{}, false
	}
	p := l.opts.SegmentHeader()
	if before != nil && p.Kind() == before.Kind() {
		return Record{}, false
	}
	r, err := sealPayload(head, at, p)
	return r, err == nil
}

// toMirror is left when the file cannot be written, because of fileErr.
func (l *Log) toMirror(at time.Time, p record.Payload, inner []byte, fileErr error) (Record, error) {
	if l.cause == nil {
		l.cause = fileErr
	}
	l.notice(topicWrite, fmt.Errorf("write audit log: %w", fileErr))
	r, err := seal(l.head, at, p.Kind(), inner)
	r.payload = p
	if err == nil && l.mirror(r) == nil {
		l.head = r.Checkpoint()
		return r, nil
	}
	l.lost++
	return Record{}, fmt.Errorf("%w: %w", ErrNotDurable, fileErr)
}

func (l *Log) mirror(r Record) error {
	if l.opts.Mirror == nil {
		return ErrNotMirrored
	}
	err := l.opts.Mirror(r)
	l.step("mirrored")
	switch {
	case err == nil:
		delete(l.reported, topicMirror)
	case !errors.Is(err, ErrNotMirrored):
		l.notice(topicMirror, fmt.Errorf("mirror audit record: %w", err))
	}
	return err
}

// A topic is the subject of a notice. The log reports the same error once per
// topic: a full disk fails with every record.
type topic string

const (
	topicWrite  topic = "write"
	topicMirror topic = "mirror"
	topicRotate topic = "rotate"
	topicRemove topic = "remove"
	topicAside  topic = "aside"
	topicOther  topic = "other"
)

func (l *Log) notice(t topic, err error) {
	if err.Error() == l.reported[t] || l.opts.Notice == nil {
		return
	}
	l.reported[t] = err.Error()
	l.opts.Notice(err)
}

// write puts records into the file, or leaves the file as it was.
func (l *Log) write(batch []Record) error {
	var text []byte
	for _, r := range batch {
		text = append(append(text, r.line...), '\n')
	}
	l.step("write")
	n, err := l.file.Write(text)
	l.step("written")
	if err == nil {
		err = l.sync(l.file)
	}
	if err != nil {
		// A page that could not be written back is clean afterwards, so a
		// later fsync would report success for a record that is not on the
		// disk: it must leave the file.
		l.half = n > 0
		if cerr := l.cutBack(); cerr != nil {
			l.notice(topicAside, fmt.Errorf("take back a half-written record: %w", cerr))
		}
		return err
	}
	l.step("synced")
	if l.first == 0 {
		l.first, l.born = batch[0].Seq, batch[0].Time
	}
	l.size += int64(n)
	return nil
}

// Close records what is still missing, if it can, and closes the log.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dir == nil {
		return nil
	}
	var err error
	if len(l.pendingGaps()) > 0 {
		_, err = l.toFile(l.opts.Now(), nil, nil)
	}
	l.closeFile()
	l.dir.Close()
	l.dir = nil
	if err != nil {
		return fmt.Errorf("close audit log: %w", err)
	}
	return nil
}

func (l *Log) closeFile() {
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.info, l.size, l.first, l.born, l.half, l.excess = nil, nil, 0, 0, time.Time{}, false, ""
}
