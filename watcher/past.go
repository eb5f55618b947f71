package watcher

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/ctwarden/ctwarden/internal/nfct"
	"golang.org/x/sys/unix"
)

// A Past is what the kernel log held before Kmsg began to listen. The zero
// Past is an empty log.
type Past struct {
	// Records is the number of records, Seq the sequence number of the last.
	Records, Seq uint64
	// TableFull counts the "table full" lines, FullAt is when the kernel
	// printed the last one: with the suspended time left out, as the kernel
	// log's own clock does.
	TableFull uint64
	FullAt    time.Time
}

// maxPast bounds the reading of a log that is written to as fast as it is
// read: no ring holds more records.
const maxPast = 1 << 20

// readPast reads the log up to its present end. The library cannot do that: it
// does not tell the last record there is from the first one to come. The
// kernel can: without anything to read it answers EAGAIN.
func readPast() (Past, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return Past{}, fmt.Errorf("open kernel log: %w", err)
	}
	p, err := scanPast(func(b []byte) (int, error) { return unix.Read(fd, b) }, time.Now().Add(-monotonic()))
	return p, errors.Join(err, unix.Close(fd))
}

// scanPast reads records until EAGAIN. boot is the moment at which the log's
// clock was zero.
func scanPast(read func([]byte) (int, error), boot time.Time) (Past, error) {
	var p Past
	buf := make([]byte, 8192) // CONSOLE_EXT_LOG_MAX; a smaller buffer gives EINVAL
	for p.Records < maxPast {
		n, err := read(buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return p, nil
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR):
			continue // overrun: the next read gives the oldest record there is
		case err != nil:
			return Past{}, fmt.Errorf("read kernel log: %w", err)
		case n == 0:
			return p, nil
		}
		p.add(buf[:n], boot)
	}
	return p, nil
}

// add takes a record such as "4,1234,56789,-;text\n KEY=value\n".
func (p *Past) add(record []byte, boot time.Time) {
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
	p.Records++
	p.Seq = max(p.Seq, seq)
	if priority>>3 != 0 {
		return
	}
	if m, ok := nfct.ParseMessage(firstLine(string(text))); ok && m.Kind == nfct.TableFull {
		p.TableFull++
		p.FullAt = boot.Add(time.Duration(micros) * time.Microsecond).Round(0)
	}
}
