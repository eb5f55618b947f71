package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/record"
)

// findHead finds the last record in all segments: the chain goes on there,
// also when the file itself was moved away or its creation was interrupted.
func (l *Log) findHead() error {
	segments, err := openSegments(l.path)
	if err != nil {
		return err
	}
	defer closeSegments(segments)
	for _, s := range segments {
		last, err := s.lastRecord()
		if err != nil {
			return fmt.Errorf("find the last record of %s: %w", s.File, err)
		}
		if last.Seq > l.head.Seq {
			l.head = last.Checkpoint()
		}
	}
	l.inFile = l.head
	return nil
}

// lastRecord returns the segment's last intact record, zero if there is none.
func (s *segmentFile) lastRecord() (Record, error) {
	r, err := s.content()
	if err != nil {
		return Record{}, err
	}
	if r == s.f {
		last, _, err := lastRecord(s.f, s.info.Size())
		return last, err
	}
	var last Record
	for l := newLines(r); ; {
		text, err := l.next()
		if rec, perr := parse(text); err == nil && perr == nil && rec.check() == nil {
			last = rec.Clone()
		}
		if err != nil && !errors.Is(err, ErrTooLong) {
			// The end, or a compressed file that is cut off: what stood
			// before it counts.
			return last, nil
		}
	}
}

// due reports whether the file is to be rotated before another record.
func (l *Log) due(at time.Time) bool {
	if l.first == 0 {
		return false
	}
	bySize := l.opts.SegmentSize > 0 && l.size >= l.opts.SegmentSize
	byAge := l.opts.SegmentAge > 0 && at.Sub(l.born) >= l.opts.SegmentAge
	return bySize || byAge
}

// rotate gives the file its final name and makes a new one. A file that
// cannot be renamed is written on: a long segment is better than none.
func (l *Log) rotate() error {
	to := l.beside(segmentName(l.path, l.first))
	if err := renameNoReplace(l.path, to); err != nil {
		l.notice(topicRotate, fmt.Errorf("rotate audit log: %w", err))
		return nil
	}
	l.step("rotated")
	delete(l.reported, topicRotate)
	l.closeFile()
	l.retain = true
	if err := l.dir.Sync(); err != nil {
		return err
	}
	return l.openFile()
}

// renameNoReplace renames a file unless that would overwrite another. Where
// the file system cannot do both in one step, the directory's lock keeps
// other writers away between the two.
func renameNoReplace(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		if _, serr := os.Lstat(to); serr == nil {
			err = unix.EEXIST
		} else {
			err = unix.Rename(from, to)
		}
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// pendingGaps returns the gaps that the file has no record of yet. The one that
// joins the chain over missing records comes first.
func (l *Log) pendingGaps() []record.Gap {
	var gaps []record.Gap
	if l.lost > 0 || l.inFile != l.head {
		gaps = append(gaps, l.missing())
	}
	return append(gaps, l.gaps...)
}

// settle notes that all pending gaps are in the file now.
func (l *Log) settle() {
	l.lost, l.cut, l.cause = 0, false, nil
	delete(l.reported, topicWrite)
	for _, g := range l.gaps {
		l.step("recorded")
		if err := renameNoReplace(l.beside(g.File+asideNew), l.beside(g.File)); err != nil {
			l.notice(topicAside, fmt.Errorf("name what was set aside: %w", err))
		}
	}
	l.gaps = nil
}

// missing describes the records between the last one in the file and the head.
func (l *Log) missing() record.Gap {
	g := record.Gap{Reason: record.GapNotDurable, Lost: l.lost}
	if l.cut {
		g.Reason = record.GapCut
	}
	if l.cause != nil {
		g.Error = Clip(l.cause.Error(), 1024)
	}
	if l.inFile != l.head {
		after := l.inFile.Hash
		g.From, g.To, g.After = l.inFile.Seq+1, l.head.Seq, &after
	}
	return g
}

// sealPayload makes the record that follows prev.
func sealPayload(prev Checkpoint, at time.Time, p record.Payload) (Record, error) {
	inner, err := encodePayload(p)
	if err != nil {
		return Record{}, err
	}
	r, err := seal(prev, at, p.Kind(), inner)
	r.payload = p
	return r, err
}

// removeOld removes the oldest segments that are no longer to be kept, after
// a record of that is durable. An error here must not stop the audit.
func (l *Log) removeOld(at time.Time) {
	l.retain = false
	if l.opts.KeepSize <= 0 && l.opts.KeepAge <= 0 {
		return
	}
	removed, err := l.expired(at)
	if err != nil {
		l.notice(topicRemove, fmt.Errorf("find old segments: %w", err))
	}
	if err != nil || len(removed) == 0 {
		return
	}
	r, err := sealPayload(l.head, at, &record.Gap{Reason: record.GapRetention, Segments: removed})
	if err == nil {
		err = l.write([]Record{r})
	}
	if err != nil {
		l.notice(topicRemove, fmt.Errorf("record the removal of old segments: %w", err))
		return
	}
	l.head, l.inFile = r.Checkpoint(), r.Checkpoint()
	l.mirror(r) //nolint:errcheck // notice reports it; the file has the record
	for _, s := range removed {
		if err := os.Remove(l.beside(s.File)); err != nil {
			l.notice(topicRemove, fmt.Errorf("remove old segment: %w", err))
			return
		}
		l.step("removed")
	}
	if err := l.dir.Sync(); err != nil {
		l.notice(topicRemove, fmt.Errorf("remove old segments: %w", err))
	}
}

// maxRemoved bounds one retention record well below MaxLine.
const maxRemoved = 200

// expired returns the segments to remove: from the oldest on, until the rest
// fits, and never behind one that must stay. Files that logrotate moved are
// logrotate's to remove.
func (l *Log) expired(at time.Time) ([]record.RemovedSegment, error) {
	segments, err := openSegments(l.path)
	if err != nil {
		return nil, err
	}
	defer closeSegments(segments)
	var total int64
	for _, s := range segments {
		total += s.Size
	}
	var removed []record.RemovedSegment
	for _, s := range segments {
		_, own := segmentNumber(l.path, s.File)
		if s.Current || !own || len(removed) == maxRemoved {
			break
		}
		last, err := s.lastRecord()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(s.File), err)
		}
		bySize := l.opts.KeepSize > 0 && total > l.opts.KeepSize
		byAge := l.opts.KeepAge > 0 && at.Sub(last.Time) > l.opts.KeepAge
		if last.Seq == 0 {
			l.notice(topicRemove, fmt.Errorf("%s holds no record: it and what follows is kept", l.beside(s.File)))
			break
		}
		if (!bySize && !byAge) || l.openIncidents.spares(last.Seq) {
			break
		}
		total -= s.Size
		removed = append(removed, record.RemovedSegment{
			File: s.File, First: s.First, Last: last.Seq, LastHash: last.Hash, Bytes: s.Size,
		})
	}
	return removed, nil
}
