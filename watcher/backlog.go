package watcher

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Backlog sums up the records that the kernel log held before Kmsg opened it.
// The zero Backlog is an empty log.
type Backlog struct {
	// From is the first sequence number that an earlier run has not read. All
	// fields but Records, Seq and Last count the records from there on.
	From uint64
	// Records is the number of records in the log, Seq the sequence number of
	// the last, and Last the time at which the kernel printed it, on the clock
	// of printk.
	Records, Seq uint64
	Last         time.Duration
	// FirstNew is when the first of the records that count was printed, on that
	// clock, and Lost how many before it were overwritten unread.
	FirstNew time.Duration
	Lost     uint64
	// TableFull counts the "table full" lines. FullFirst and FullAt are the
	// times at which the kernel printed the first and the last one; like the
	// kernel log's own clock, they leave out suspended time.
	TableFull         uint64
	FullFirst, FullAt time.Time

	hasNew bool // Begins and Lost are valid
}

// maxBacklog is more records than any ring holds. It bounds the reading of a log
// that is written as fast as it is read.
const maxBacklog = 1 << 20

// maxMicros is what fits a time.Duration, with room for a sum.
const maxMicros = int64(1<<62) / 1000

// readBacklog reads the log up to its present end, at which the kernel returns
// EAGAIN. go-kmsg-parser does not report that end.
func readBacklog(from uint64) (Backlog, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return Backlog{}, fmt.Errorf("open kernel log: %w", err)
	}
	read := func(b []byte) (int, error) { return unix.Read(fd, b) }
	p, err := scanBacklog(read, from, time.Now().Add(-monotonic()))
	return p, errors.Join(err, unix.Close(fd))
}

// scanBacklog reads records until EAGAIN. boot is the moment at which the log's
// clock was zero.
func scanBacklog(read func([]byte) (int, error), from uint64, boot time.Time) (Backlog, error) {
	p := Backlog{From: from}
	buf := make([]byte, 8192) // CONSOLE_EXT_LOG_MAX; a smaller buffer gives EINVAL
	for p.Records < maxBacklog {
		n, err := read(buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return p, nil
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR):
			continue // overrun: the next read gives the oldest record there is
		case err != nil:
			return Backlog{}, fmt.Errorf("read kernel log: %w", err)
		case n == 0:
			return p, nil
		}
		p.addRecord(buf[:n], boot)
	}
	return p, nil
}

// addRecord adds a record such as "4,1234,56789,-;text\n KEY=value\n".
func (p *Backlog) addRecord(record []byte, boot time.Time) {
	header, text, ok := bytes.Cut(record, []byte{';'})
	fields := bytes.SplitN(header, []byte{','}, 4)
	if !ok || len(fields) < 3 {
		return
	}
	priority, err1 := strconv.ParseUint(string(fields[0]), 10, 32)
	seq, err2 := strconv.ParseUint(string(fields[1]), 10, 64)
	micros, err3 := strconv.ParseInt(string(fields[2]), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return
	}
	printed := time.Duration(min(max(micros, 0), maxMicros)) * time.Microsecond
	p.Records++
	p.Seq, p.Last = max(p.Seq, seq), printed
	if seq < p.From {
		return
	}
	if !p.hasNew {
		p.hasNew, p.FirstNew, p.Lost = true, printed, seq-p.From
	}
	if priority>>3 != 0 {
		return
	}
	if m, ok := conntrack.ParseMessage(firstLine(string(text))); ok && m.Kind == conntrack.TableFull {
		p.TableFull++
		p.FullAt = boot.Add(printed).Round(0)
		if p.TableFull == 1 {
			p.FullFirst = p.FullAt
		}
	}
}
