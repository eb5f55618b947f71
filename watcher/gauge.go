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
)

// ErrNoTable says that there is no connection tracking table to read: the
// module is not loaded, or the namespace is gone. It may appear later.
var ErrNoTable = errors.New("no connection tracking table")

// A CounterSource names where counters come from. The zero CounterSource is
// nowhere: they could not be read.
type CounterSource string

// The sources of counters.
const (
	CountersProcfs    CounterSource = "procfs"
	CountersCtnetlink CounterSource = "ctnetlink"
)

// A Sample is one reading of a table.
type Sample struct {
	Table conntrack.Table
	// At is when it was read, with Go's monotonic reading.
	At time.Time
	// CountersFrom is where Table.Counters come from. If it is empty,
	// Counters are those of the last reading and CountersErr says why.
	CountersFrom CounterSource
	CountersErr  error
	// Resets is the number of times that the kernel's counters started anew,
	// because the module was loaded again.
	Resets uint64
}

// A Gauge reads the table of one network namespace, many times a second. It
// keeps the files open: a sysctl stays that of the namespace in which it was
// opened, and so does the file of the counters. The zero Gauge reads the
// namespace of the process. A Gauge is for one goroutine at a time.
type Gauge struct {
	// NetNS is the namespace; nil is the process' own. The Gauge must be
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

	noStat bool // the kernel has no file of counters
	buf    []byte
	rows   []conntrack.CPUStat
	tally  conntrack.Tally
	from   CounterSource      // what tally was fed from
	base   conntrack.Counters // what earlier tallies have counted
	last   conntrack.Counters
	stale  uint64 // resets of earlier tallies
}

const statFile = "proc/thread-self/net/stat/nf_conntrack"

// Read takes one reading. Without a table the error is ErrNoTable; without the
// right to read it is os.ErrPermission. Counters that cannot be read do not
// spoil the rest: see Sample. A max of 0 (unlimited, up to Linux 6.18) is a
// reading like any other.
func (g *Gauge) Read() (Sample, error) {
	s, err := g.sample()
	if errors.Is(err, fs.ErrNotExist) {
		// The module was unloaded, and perhaps loaded again: files that were
		// open are those of the old one, and the new one counts from zero.
		g.tally.Restart()
		_ = g.Close() // they were only read
		s, err = g.sample()
	}
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, fs.ErrNotExist):
		return Sample{}, fmt.Errorf("%w: %w", ErrNoTable, err)
	default:
		_ = g.Close()
		return Sample{}, fmt.Errorf("read connection tracking table: %w", err)
	}
}

// Close closes the files. The Gauge may be used again and goes on counting.
func (g *Gauge) Close() error {
	var err error
	for _, f := range []**os.File{&g.count, &g.max, &g.buckets, &g.stat, &g.dir} {
		if *f != nil {
			err = errors.Join(err, (*f).Close())
			*f = nil
		}
	}
	g.noStat = false
	return err
}

// open opens the sysctls, if they are not open.
func (g *Gauge) open() error {
	if g.buckets != nil {
		return nil
	}
	return g.do(func() error {
		var err error
		if g.count, err = os.Open(g.sysctl(conntrack.SysctlCount)); err != nil {
			return err
		}
		if g.max, err = os.Open(g.sysctl(conntrack.SysctlMax)); err != nil {
			return err
		}
		g.buckets, err = os.Open(g.sysctl(conntrack.SysctlBuckets))
		return err
	})
}

// openStat opens the file of the counters, if there is one.
func (g *Gauge) openStat() error {
	if g.stat != nil || g.noStat {
		return nil
	}
	return g.do(func() error {
		f, err := os.Open(filepath.Join(g.root(), statFile))
		if errors.Is(err, fs.ErrNotExist) {
			g.noStat = true
			return nil
		}
		g.stat = f
		return err
	})
}

func (g *Gauge) sample() (Sample, error) {
	if err := g.open(); err != nil {
		return Sample{}, err
	}
	s := Sample{At: time.Now()}
	if g.NetNS != nil {
		s.Table.NetNS = g.NetNS.Inode()
	}
	var err error
	if s.Table.Entries, err = g.number(g.count); err != nil {
		return Sample{}, err
	}
	if s.Table.Max, err = g.number(g.max); err != nil {
		return Sample{}, err
	}
	if s.Table.Buckets, err = g.number(g.buckets); err != nil {
		return Sample{}, err
	}
	s.CountersFrom, s.CountersErr = g.counters()
	s.Table.Counters = g.last
	s.Resets = g.stale + g.tally.Resets()
	return s, nil
}

// counters brings last up to date and tells where it comes from.
func (g *Gauge) counters() (CounterSource, error) {
	from, rows, err := g.stats()
	if err != nil {
		return "", fmt.Errorf("read counters: %w", err)
	}
	if from != g.from {
		g.base, g.stale = g.last, g.stale+g.tally.Resets()
		g.tally, g.from = conntrack.Tally{}, from
	}
	g.last = plus(g.base, g.tally.Add(rows))
	return from, nil
}

func (g *Gauge) stats() (CounterSource, []conntrack.CPUStat, error) {
	if err := g.openStat(); err != nil {
		return "", nil, err
	}
	if g.stat == nil {
		if g.Stats == nil {
			return "", nil, &fs.PathError{Op: "open", Path: statFile, Err: fs.ErrNotExist}
		}
		rows, err := g.Stats()
		return CountersCtnetlink, rows, err
	}
	text, err := g.text(g.stat)
	if err != nil {
		err = errors.Join(err, g.stat.Close())
		g.stat = nil
		return "", nil, err
	}
	rows, err := conntrack.ParseCPUStats(text, g.rows)
	if err != nil {
		return "", nil, err
	}
	g.rows = rows
	return CountersProcfs, rows, nil
}

// number reads a sysctl. Kernels that do not check what is written to
// nf_conntrack_max (5.10 and older) print 4294967295 as -1.
func (g *Gauge) number(f *os.File) (uint64, error) {
	text, err := g.text(f)
	if err != nil {
		return 0, err
	}
	n, err := parseSysctl(text)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return n, nil
}

// text reads a whole file from its start; it is valid until the next call. A
// seq_file of many processors comes in several pieces.
func (g *Gauge) text(f *os.File) ([]byte, error) {
	if g.buf == nil {
		g.buf = make([]byte, 4096)
	}
	n := 0
	for {
		m, err := f.ReadAt(g.buf[n:], int64(n))
		n += m
		if errors.Is(err, io.EOF) {
			return g.buf[:n], nil
		}
		if err != nil {
			return nil, err
		}
		g.buf = append(g.buf, make([]byte, len(g.buf))...)
	}
}

// do calls fn in the namespace of the Gauge.
func (g *Gauge) do(fn func() error) error {
	if g.NetNS == nil {
		return fn()
	}
	return g.NetNS.Do(fn)
}

func (g *Gauge) root() string {
	if g.Root == "" {
		return "/"
	}
	return g.Root
}

func (g *Gauge) sysctl(name string) string {
	return filepath.Join(g.root(), "proc/sys/net/netfilter", name)
}

func plus(a, b conntrack.Counters) conntrack.Counters {
	return conntrack.Counters{
		Drop:         a.Drop + b.Drop,
		EarlyDrop:    a.EarlyDrop + b.EarlyDrop,
		InsertFailed: a.InsertFailed + b.InsertFailed,
		ChainTooLong: a.ChainTooLong + b.ChainTooLong,
		Insert:       a.Insert + b.Insert,
	}
}
