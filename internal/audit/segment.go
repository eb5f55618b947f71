package audit

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Segment is one file of the log.
type Segment struct {
	// File is its name in the log's directory.
	File string
	// First is the sequence number of its first record; 0 in a file that
	// holds none.
	First     uint64
	FirstTime time.Time
	// Size in bytes, as stored.
	Size int64
	// Current is set for the file that is being written.
	Current bool
}

// segmentFile is a Segment that is held open, so that neither rotation nor
// retention can take it away from its reader.
type segmentFile struct {
	Segment
	f     *os.File
	info  os.FileInfo
	order uint64 // First, or the best guess where that is unknown
}

// content returns the segment's text from its beginning.
func (s *segmentFile) content() (io.Reader, error) {
	if _, err := s.f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if !strings.HasSuffix(s.File, ".gz") {
		return s.f, nil
	}
	z, err := gzip.NewReader(s.f)
	return &unpacking{z, err}, nil
}

// ErrPacked reports that a packed segment ends before its text does. What was read
// up to there is as good as ever.
var ErrPacked = errors.New("can't be unpacked from here on")

// An unpacking is the text of a packed segment. It separates damage
// from an error of the disk.
type unpacking struct {
	z   *gzip.Reader
	err error // there is no text
}

func (u *unpacking) Read(p []byte) (n int, err error) {
	if err = u.err; err == nil {
		n, err = u.z.Read(p)
	}
	disk := (*fs.PathError)(nil)
	if err == nil || u.err == nil && errors.Is(err, io.EOF) || errors.As(err, &disk) {
		return n, err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("%w: %w", ErrPacked, err)
}

func closeSegments(segments []*segmentFile) {
	for _, s := range segments {
		s.f.Close()
	}
}

// openSegments opens every segment of the log at path. A rotation in between
// would hide a file or show it twice, so the directory is read again until
// two readings agree.
func openSegments(path string) ([]*segmentFile, error) {
	const tries = 10 // rotations are minutes apart
	for range tries {
		before, err := segmentNames(path)
		if err != nil {
			return nil, err
		}
		segments, err := openAll(path, before)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		after, err := segmentNames(path)
		if err == nil && slices.Equal(before, after) && !sameFileTwice(segments) {
			slices.SortStableFunc(segments, func(a, b *segmentFile) int { return cmp.Compare(a.order, b.order) })
			return segments, nil
		}
		closeSegments(segments)
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("list segments of %s: directory keeps changing", path)
}

func openAll(path string, names []string) ([]*segmentFile, error) {
	var segments []*segmentFile
	for _, name := range names {
		s, err := openSegment(filepath.Join(filepath.Dir(path), name))
		if err != nil {
			closeSegments(segments)
			return nil, err
		}
		if s == nil {
			continue
		}
		s.Current = name == filepath.Base(path)
		if s.First == 0 {
			s.order = guessOrder(path, name)
		}
		segments = append(segments, s)
	}
	return segments, nil
}

// openSegment returns nil for a file that is not regular.
func openSegment(file string) (*segmentFile, error) {
	info, err := os.Lstat(file)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	if info, err = f.Stat(); err != nil {
		f.Close()
		return nil, fmt.Errorf("open segment: %w", err)
	}
	s := &segmentFile{Segment: Segment{File: filepath.Base(file), Size: info.Size()}, f: f, info: info}
	s.readFirst()
	return s, nil
}

// firstLines is how many lines are searched for the first record of a
// segment whose first line is damaged.
const firstLines = 64

func (s *segmentFile) readFirst() {
	r, err := s.content()
	if err != nil {
		return
	}
	for l := newLines(io.LimitReader(r, firstLines*MaxLine)); l.no < firstLines; {
		text, err := l.next()
		if h, ok := parseHeader(text); ok && err == nil {
			s.First, s.order = h.seq, h.seq
			s.FirstTime, _ = time.Parse(timeLayout, string(h.time))
			return
		}
		if err != nil && !errors.Is(err, ErrTooLong) {
			return
		}
	}
}

// guessOrder places a segment without a readable record: by the number in its
// name, else last.
func guessOrder(path, name string) uint64 {
	if n, ok := segmentNumber(path, name); ok {
		return n
	}
	if name == filepath.Base(path) {
		return math.MaxUint64
	}
	return math.MaxUint64 - 1
}

func sameFileTwice(segments []*segmentFile) bool {
	for i, s := range segments {
		for _, t := range segments[:i] {
			if os.SameFile(s.info, t.info) {
				return true
			}
		}
	}
	return false
}

// segmentNames returns the names of all segments in alphabetical order.
func segmentNames(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	var names []string
	for _, e := range entries {
		if _, own := segmentNumber(path, e.Name()); own || e.Name() == filepath.Base(path) || moved(path, e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// segmentName is the name of the segment of the log at path whose first
// record is first. The number is padded, so that names sort as numbers do.
func segmentName(path string, first uint64) string {
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s-%020d%s", strings.TrimSuffix(filepath.Base(path), ext), first, ext)
}

// segmentNumber is the inverse of segmentName.
func segmentNumber(path, name string) (uint64, bool) {
	ext := filepath.Ext(path)
	number, ok := strings.CutPrefix(name, strings.TrimSuffix(filepath.Base(path), ext)+"-")
	if !ok {
		return 0, false
	}
	number, ok = strings.CutSuffix(number, ext)
	if !ok || len(number) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(number, 10, 64)
	return n, err == nil
}

// moved reports whether name is what logrotate calls a file that it moved:
// with a number or a date behind, perhaps compressed.
func moved(path, name string) bool {
	rest, ok := strings.CutPrefix(name, filepath.Base(path))
	if !ok || len(rest) < 2 || (rest[0] != '.' && rest[0] != '-') {
		return false
	}
	rest = strings.TrimSuffix(rest[1:], ".gz")
	return rest != "" && rest[0] >= '0' && rest[0] <= '9' && strings.Trim(rest, "0123456789-_") == ""
}

// lastRecord finds the last intact record in the first size bytes of f and
// the offset behind its line; end is 0 if there is none. The common case
// reads only the tail; where that is no record, the whole file is searched.
func lastRecord(f io.ReaderAt, size int64) (last Record, end int64, err error) {
	from := max(0, size-2*MaxLine)
	tail := make([]byte, size-from)
	if _, err := f.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return Record{}, 0, err
	}
	if nl := bytes.LastIndexByte(tail, '\n'); nl >= 0 {
		line := tail[bytes.LastIndexByte(tail[:nl], '\n')+1 : nl]
		if r, err := parse(line); err == nil && r.check() == nil {
			return r, from + int64(nl) + 1, nil
		}
	}
	l := newLines(io.NewSectionReader(f, 0, size))
	for {
		text, err := l.next()
		if errors.Is(err, io.EOF) || errors.Is(err, ErrTorn) {
			return last, end, nil
		}
		if err != nil && !errors.Is(err, ErrTooLong) {
			return Record{}, 0, err
		}
		if r, perr := parse(text); err == nil && perr == nil && r.check() == nil {
			last, end = r.Clone(), l.off
		}
	}
}
