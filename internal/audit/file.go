package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ctwarden/ctwarden/internal/record"
)

// asideNew ends the name of a file that was set aside and has no gap record yet.
// A process that dies in between leaves it, and the next one records it.
const asideNew = ".new"

// asideTime is the time in the name of a file that was set aside.
const asideTime = "20060102T150405.000000000Z"

// prepare makes the file ready for one more record: the one that path names,
// whole, and not too large or old.
func (l *Log) prepare(at time.Time) error {
	if err := l.compare(); err != nil {
		return err
	}
	if l.due(at) {
		return l.rotate()
	}
	return nil
}

// compare checks that the file is still what it was after the last record:
// logrotate may have moved or truncated it, a person may have edited it.
func (l *Log) compare() error {
	info, err := os.Lstat(l.path)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case err != nil || l.file == nil || !os.SameFile(info, l.info):
		if l.file != nil {
			l.otherRotation("moved or removed")
		}
		l.closeFile()
		return l.openFile()
	case l.half:
		return l.cutBack()
	case info.Size() < l.size:
		return l.shrunk(info.Size())
	case info.Size() > l.size:
		if l.excess == "" {
			l.excess = record.GapForeign
		}
		return l.cutExcess(info.Size())
	}
	l.excess = ""
	return nil
}

// otherRotation reports what another program did to the file. The log goes on in
// a new one, but records that the other program removes are gone.
func (l *Log) otherRotation(what string) {
	l.notice(topicOther, fmt.Errorf("another program %s %s: no other program may rotate it", what, l.path))
}

// shrunk continues in a file that another program made shorter. An empty one is what
// copytruncate leaves, and its records are in the copy.
func (l *Log) shrunk(size int64) error {
	if size == 0 {
		l.otherRotation("emptied")
		l.size, l.first = 0, 0
		return nil
	}
	r, end, err := lastRecord(l.file, size)
	if err != nil {
		return err
	}
	l.size, l.cut = end, true
	if r.Seq > 0 {
		l.inFile = r.Checkpoint()
	}
	if end == 0 {
		l.first = 0
	}
	if end < size {
		l.excess = record.GapDamaged
		return l.cutExcess(size)
	}
	return nil
}

// openFile opens the file that path names, or makes it.
func (l *Log) openFile() error {
	info, err := os.Lstat(l.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return l.createFile()
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		// Opening a FIFO would block, and a link would be rotated in place
		// of what it names.
		return fmt.Errorf("%s is not a regular file", l.path)
	}
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return l.adopt(f)
}

// createFile makes an empty file whose name survives a crash. The mode is set
// again because the umask of a service is often 0077, and its group is to
// read the log.
func (l *Log) createFile() error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o640)
	if err != nil {
		return err
	}
	l.step("created")
	if err := errors.Join(f.Chmod(0o640), l.dir.Sync()); err != nil {
		f.Close()
		return err
	}
	return l.adopt(f)
}

// adopt takes f as the file to write, if it continues the chain. Otherwise it
// is set aside and a new one is made.
func (l *Log) adopt(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	last, end, err := lastRecord(f, info.Size())
	if err != nil {
		f.Close()
		return fmt.Errorf("find the last record of %s: %w", l.path, err)
	}
	foreign := info.Size() > 0 && (end == 0 || last.Checkpoint() != l.inFile)
	if foreign && (end > 0 || !tornRecord(f, info.Size())) {
		f.Close()
		return l.setAside(info.Size())
	}
	l.file, l.info, l.size = f, info, end
	if end > 0 {
		s := segmentFile{Segment: Segment{File: filepath.Base(l.path)}, f: f}
		s.readFirst()
		l.first, l.born = s.First, s.FirstTime
	}
	if end == info.Size() {
		return nil
	}
	l.excess = record.GapDamaged
	if tornRecord(io.NewSectionReader(f, end, info.Size()-end), info.Size()-end) {
		l.excess = record.GapTorn
	}
	if err := l.cutExcess(info.Size()); err != nil {
		// A full disk has no room for the copy. The next record tries again.
		l.notice(topicAside, fmt.Errorf("set aside the torn end of the audit log: %w", err))
	}
	return nil
}

// tornRecord reports whether text is a line of ours that was cut off while it
// was written, and not something that never was a record.
func tornRecord(text io.ReaderAt, size int64) bool {
	if size > MaxLine {
		return false
	}
	line := make([]byte, size)
	if n, _ := text.ReadAt(line, 0); int64(n) != size || bytes.IndexByte(line, '\n') >= 0 {
		return false
	}
	return bytes.HasPrefix(line, []byte(tagSeq)) || bytes.HasPrefix([]byte(tagSeq), line)
}

// cutBack removes the part that is left of our own record after a failed write.
// The record counts as lost already.
func (l *Log) cutBack() error {
	if !l.half {
		return nil
	}
	if err := l.file.Truncate(l.size); err != nil {
		return err
	}
	l.step("cut back")
	if err := l.sync(l.file); err != nil {
		return err
	}
	l.half = false
	return nil
}

// cutExcess moves the bytes behind the last record into a file of its own.
func (l *Log) cutExcess(size int64) error {
	name, err := l.copyAside(size)
	if err != nil {
		return err
	}
	l.step("copied aside")
	if err := l.file.Truncate(l.size); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	l.step("truncated")
	l.addGap(record.Gap{Reason: l.excess, Bytes: size - l.size, File: name})
	l.excess = ""
	return nil
}

// copyAside copies the bytes behind the last record and returns the name
// that the copy gets once it is recorded. A copy of the same bytes that an
// earlier process left is used again.
func (l *Log) copyAside(size int64) (string, error) {
	text := io.NewSectionReader(l.file, l.size, size-l.size)
	for _, g := range l.gaps {
		if same, err := equalFile(l.beside(g.File+asideNew), text); err == nil && same {
			l.dropGap(g.File)
			return g.File, nil
		}
	}
	name := l.asideName("torn")
	f, err := os.OpenFile(l.beside(name+asideNew), os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o640)
	if err != nil {
		return "", err
	}
	_, err = text.Seek(0, io.SeekStart)
	if err == nil {
		_, err = io.Copy(f, text)
	}
	if err = errors.Join(err, f.Sync(), f.Close(), l.dir.Sync()); err != nil {
		// Half a copy is worth nothing: the original is still there.
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return name, nil
}

// setAside renames a file that does not continue the chain and makes a new
// one in its place.
func (l *Log) setAside(size int64) error {
	name := l.asideName("foreign")
	if err := renameNoReplace(l.path, l.beside(name+asideNew)); err != nil {
		return err
	}
	if err := l.dir.Sync(); err != nil {
		return err
	}
	l.step("set aside")
	l.addGap(record.Gap{Reason: record.GapForeign, Bytes: size, File: name})
	return l.openFile()
}

// findAside queues the files that an earlier process set aside and did not
// record.
func (l *Log) findAside() error {
	entries, err := os.ReadDir(filepath.Dir(l.path))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, isNew := strings.CutSuffix(e.Name(), asideNew)
		what, isAside := strings.CutPrefix(name, filepath.Base(l.path)+".")
		if !isNew || !isAside {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		reason, _, _ := strings.Cut(what, "-")
		if reason == string(record.GapTorn) || reason == string(record.GapForeign) {
			l.addGap(record.Gap{Reason: record.GapReason(reason), Bytes: info.Size(), File: name})
		}
	}
	return nil
}

func (l *Log) addGap(g record.Gap) {
	l.gaps = append(l.gaps, g)
	l.notice(topicAside, fmt.Errorf("%d bytes of the audit log were set aside (%s) in %s", g.Bytes, g.Reason, l.beside(g.File)))
}

func (l *Log) dropGap(file string) {
	for i, g := range l.gaps {
		if g.File == file {
			l.gaps = append(l.gaps[:i], l.gaps[i+1:]...)
			return
		}
	}
}

func (l *Log) beside(name string) string { return filepath.Join(filepath.Dir(l.path), name) }

// asideName returns a name that is free, also while the clock stands still.
func (l *Log) asideName(what string) string {
	stem := filepath.Base(l.path) + "." + what + "-" + l.opts.Now().UTC().Format(asideTime)
	name := stem
	for n := 2; l.taken(name) || l.taken(name+asideNew); n++ {
		name = fmt.Sprintf("%s.%d", stem, n)
	}
	return name
}

func (l *Log) taken(name string) bool {
	_, err := os.Lstat(l.beside(name))
	return err == nil
}

// equalFile reports whether a file holds exactly want.
func equalFile(path string, want *io.SectionReader) (bool, error) {
	info, err := os.Stat(path)
	if err != nil || info.Size() != want.Size() || info.Size() > readBuffer {
		return false, err
	}
	got, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	text := make([]byte, want.Size())
	if _, err := want.ReadAt(text, 0); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return bytes.Equal(got, text), nil
}
