package watcher

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/sysctl"
)

// ErrNoTable reports that there is no connection tracking table to read: the
// module is not loaded, or the namespace is gone. The table may appear later.
var ErrNoTable = errors.New("no connection tracking table")

// A CounterSource names where counters were read. The zero CounterSource means
// that they could not be read.
type CounterSource string

// The sources of counters.
const (
	CountersProcfs    CounterSource = "procfs"
	CountersCtnetlink CounterSource = "ctnetlink"
)

// A Sample is one reading of a table.
type Sample struct {
	Table conntrack.Table
	// At is the time of the reading, with Go's monotonic clock reading.
	At time.Time
	// CountersFrom is where Table.Counters were read. If it is empty, Counters
	// are those of the last reading and CountersErr is the reason.
	CountersFrom CounterSource
	CountersErr  error
	// Resets is the number of times that the kernel's counters started anew,
	// because the module was loaded again.
	Resets uint64
}

// A TableReader reads the table of one network namespace, many times a second. It
// keeps the files open: a sysctl stays that of the namespace in which it was
// opened, and so does the file of the counters. The zero TableReader reads the
// namespace of the process. A TableReader is for one goroutine at a time.
type TableReader struct {
	// NetNS is the namespace; nil is the process' own. The TableReader must be
	// closed before it.
	NetNS *netns.NS
	// Root is the directory below which proc is found; empty is "/".
	Root string
	// Stats reads the counters through ctnetlink, processors in order: for a
	// kernel without /proc/net/stat/nf_conntrack (CONFIG_NF_CONNTRACK_PROCFS
	// is off in Ubuntu's 5.4 and 6.8). Without it, such a kernel has none.
	Stats func() ([]conntrack.CPUStat, error)

	count, max, buckets, stat *os.File
	dir                       *os.File // of the sysctls

	noStat          bool // the kernel has no file of counters
	buf             []byte
	rows            []conntrack.CPUStat
	tally           conntrack.CounterSum
	source          CounterSource      // what tally was fed from
	earlierCounters conntrack.Counters // what earlier tallies have counted
	last            conntrack.Counters
	earlierResets   uint64 // resets of earlier tallies
}

const statFile = "proc/thread-self/net/stat/nf_conntrack"

// Read takes one reading. Without a table the error is ErrNoTable; without the
// right to read it is os.ErrPermission. Counters that cannot be read do not
// spoil the rest: see Sample. A max of 0 (unlimited, up to Linux 6.18) is a
// reading like any other.
func (r *TableReader) Read() (Sample, error) {
	s, err := r.readOnce()
	if errors.Is(err, fs.ErrNotExist) {
		// The module was unloaded, and perhaps loaded again: files that were
		// open are those of the old one, and the new one counts from zero.
		r.tally.Restart()
		_ = r.Close() // they were only read
		s, err = r.readOnce()
	}
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, fs.ErrNotExist):
		return Sample{}, fmt.Errorf("%w: %w", ErrNoTable, err)
	default:
		_ = r.Close()
		return Sample{}, fmt.Errorf("read connection tracking table: %w", err)
	}
}

// Close closes the files. The TableReader may be used again and goes on counting.
func (r *TableReader) Close() error {
	var err error
	for _, f := range []**os.File{&r.count, &r.max, &r.buckets, &r.stat, &r.dir} {
		if *f != nil {
			err = errors.Join(err, (*f).Close())
			*f = nil
		}
	}
	r.noStat = false
	return err
}

// open opens the sysctls, if they are not open.
func (r *TableReader) open() error {
	if r.buckets != nil {
		return nil
	}
	return r.do(func() error {
		var err error
		if r.count, err = os.Open(r.sysctl(conntrack.SysctlCount)); err != nil {
			return err
		}
		if r.max, err = os.Open(r.sysctl(conntrack.SysctlMax)); err != nil {
			return err
		}
		r.buckets, err = os.Open(r.sysctl(conntrack.SysctlBuckets))
		return err
	})
}

// openStat opens the file of the counters, if there is one.
func (r *TableReader) openStat() error {
	if r.stat != nil || r.noStat {
		return nil
	}
	return r.do(func() error {
		f, err := os.Open(filepath.Join(r.root(), statFile))
		if errors.Is(err, fs.ErrNotExist) {
			r.noStat = true
			return nil
		}
		r.stat = f
		return err
	})
}

func (r *TableReader) readOnce() (Sample, error) {
	if err := r.open(); err != nil {
		return Sample{}, err
	}
	s := Sample{At: time.Now()}
	if r.NetNS != nil {
		s.Table.NetNS = r.NetNS.Inode()
	}
	var err error
	if s.Table.Entries, err = r.readNumber(r.count); err != nil {
		return Sample{}, err
	}
	if s.Table.Max, err = r.readNumber(r.max); err != nil {
		return Sample{}, err
	}
	if s.Table.Buckets, err = r.readNumber(r.buckets); err != nil {
		return Sample{}, err
	}
	s.CountersFrom, s.CountersErr = r.updateCounters()
	s.Table.Counters = r.last
	s.Resets = r.earlierResets + r.tally.Resets()
	return s, nil
}

// updateCounters reads the counters into last and returns where they were read.
func (r *TableReader) updateCounters() (CounterSource, error) {
	from, rows, err := r.readStats()
	if err != nil {
		return "", fmt.Errorf("read counters: %w", err)
	}
	if from != r.source {
		r.earlierCounters, r.earlierResets = r.last, r.earlierResets+r.tally.Resets()
		r.tally, r.source = conntrack.CounterSum{}, from
	}
	r.last = addCounters(r.earlierCounters, r.tally.Add(rows))
	return from, nil
}

func (r *TableReader) readStats() (CounterSource, []conntrack.CPUStat, error) {
	if err := r.openStat(); err != nil {
		return "", nil, err
	}
	if r.stat == nil {
		if r.Stats == nil {
			return "", nil, &fs.PathError{Op: "open", Path: statFile, Err: fs.ErrNotExist}
		}
		rows, err := r.Stats()
		return CountersCtnetlink, rows, err
	}
	text, err := r.readFile(r.stat)
	if err != nil {
		err = errors.Join(err, r.stat.Close())
		r.stat = nil
		return "", nil, err
	}
	rows, err := conntrack.ParseCPUStats(text, r.rows)
	if err != nil {
		return "", nil, err
	}
	r.rows = rows
	return CountersProcfs, rows, nil
}

// readNumber reads a sysctl. Kernels that do not check what is written to
// nf_conntrack_max (5.10 and older) print 4294967295 as -1.
func (r *TableReader) readNumber(f *os.File) (uint64, error) {
	text, err := r.readFile(f)
	if err != nil {
		return 0, err
	}
	n, err := sysctl.Parse(text)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return n, nil
}

// readFile reads a whole file from its start; it is valid until the next call. A
// seq_file of many processors comes in several pieces.
func (r *TableReader) readFile(f *os.File) ([]byte, error) {
	if r.buf == nil {
		r.buf = make([]byte, 4096)
	}
	n := 0
	for {
		m, err := f.ReadAt(r.buf[n:], int64(n))
		n += m
		if errors.Is(err, io.EOF) {
			return r.buf[:n], nil
		}
		if err != nil {
			return nil, err
		}
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
}

// do calls fn in the namespace of the TableReader.
func (r *TableReader) do(fn func() error) error {
	if r.NetNS == nil {
		return fn()
	}
	return r.NetNS.Do(fn)
}

func (r *TableReader) root() string {
	if r.Root == "" {
		return "/"
	}
	return r.Root
}

func (r *TableReader) sysctl(name string) string {
	return filepath.Join(r.root(), "proc/sys/net/netfilter", name)
}

func addCounters(a, b conntrack.Counters) conntrack.Counters {
	return conntrack.Counters{
		Drop:         a.Drop + b.Drop,
		EarlyDrop:    a.EarlyDrop + b.EarlyDrop,
		InsertFailed: a.InsertFailed + b.InsertFailed,
		ChainTooLong: a.ChainTooLong + b.ChainTooLong,
		Insert:       a.Insert + b.Insert,
	}
}
