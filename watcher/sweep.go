package watcher

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/sysctl"
)

// A Sweep is the result of reading all namespaces once.
type Sweep struct {
	// Entries is the sum of all, Namespaces their number, both without the own
	// one. Unread are those that could not be read, Hidden the processes whose
	// namespaces could not be read.
	Entries    uint64
	Namespaces int
	Unread     int
	Hidden     int
	// Full are those with at least the requested number of entries, the
	// fullest first.
	Full []Namespace
	// Filled counts all that have that many.
	Filled int
	// Took is how long it took.
	Took time.Duration
}

// Sweep reads every known namespace. Those with at least enough entries, and
// at least one, are listed in Full. Sweep searches once for a namespace that
// can't be read any more.
func (k *Known) Sweep(enough uint64) Sweep {
	start := time.Now()
	lost := k.readAll()
	if lost > 0 && k.Search() == nil {
		k.readAll()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Sweep{Namespaces: len(k.known), Hidden: k.hidden}
	for _, p := range k.known {
		if p.Unread {
			s.Unread++
			continue
		}
		s.Entries += p.Entries
		if p.Entries > 0 && p.Entries >= enough {
			s.Filled++
			s.Full = append(s.Full, p.Namespace)
		}
	}
	slices.SortFunc(s.Full, func(a, b Namespace) int {
		return cmp.Or(cmp.Compare(b.Entries, a.Entries), cmp.Compare(a.Inode, b.Inode))
	})
	s.Took = time.Since(start)
	return s
}

// readAll reads all and returns how many can't be read any more.
func (k *Known) readAll() (lost int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	proc, err := k.openProc()
	if err != nil {
		return 0
	}
	defer unix.Close(proc)
	for _, p := range k.known {
		n, err := k.readEntries(proc, p)
		if err != nil {
			if !p.Unread {
				lost++
			}
			p.Unread = true
			continue
		}
		p.Entries, p.Unread = n, false
	}
	return lost
}

// openProc opens the directory that processes are read from.
func (k *Known) openProc() (int, error) {
	if k.buf == nil {
		k.buf = make([]byte, 64<<10)
	}
	return unix.Open(filepath.Join(k.root(), "proc"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// readEntries reads the entries of one namespace; rows then has its counters, or
// is empty.
func (k *Known) readEntries(proc int, p *knownNamespace) (uint64, error) {
	if p.count >= 0 {
		k.rows = k.rows[:0] // the sysctl has no counters
		n, err := unix.Pread(p.count, k.buf, 0)
		if err == nil {
			return sysctl.Parse(k.buf[:n])
		}
		p.close()
	}
	if p.PID == 0 {
		return 0, fs.ErrNotExist
	}
	return k.readProcess(proc, p)
}

// readProcess reads through a process. The inode of the file identifies the
// namespace: the process may be in another one by now, or its id be reused.
func (k *Known) readProcess(proc int, p *knownNamespace) (uint64, error) {
	name := strconv.Itoa(p.PID)
	fd, err := unix.Openat(proc, name+"/net/stat/nf_conntrack", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return 0, err
	}
	if p.file == 0 {
		// The namespace of the process is read after the file was opened.
		if inode, _, err := namespaceOf(proc, p.PID); err != nil || inode != p.Inode && !p.Guessed {
			return 0, fs.ErrNotExist
		}
		p.file = stat.Ino
	}
	if stat.Ino != p.file {
		p.file = 0
		return 0, fs.ErrNotExist
	}
	// The first row has the number of entries; the file has one row for each
	// processor.
	n, err := unix.Read(fd, k.buf)
	if err != nil {
		return 0, err
	}
	end := bytes.LastIndexByte(k.buf[:n], '\n') + 1
	rows, err := conntrack.ParseCPUStats(k.buf[:end], k.rows)
	if err != nil || len(rows) == 0 {
		return 0, fmt.Errorf("read entries of netns %d: %w", p.Inode, cmp.Or(err, fs.ErrInvalid))
	}
	k.rows = rows
	return uint64(rows[0].Entries), nil
}

// Read reads one namespace now: its entries and, where they are in procfs, its
// counters. Max and Buckets, which are the host's, are left to the caller. It
// is os.ErrNotExist for a namespace that is unknown or can't be read.
func (k *Known) Read(inode uint32) (conntrack.Table, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	table := conntrack.Table{NetNS: inode}
	p := k.known[inode]
	if p == nil {
		return table, fmt.Errorf("read netns %d: %w", inode, fs.ErrNotExist)
	}
	proc, err := k.openProc()
	if err != nil {
		return table, fmt.Errorf("read netns %d: %w", inode, err)
	}
	defer unix.Close(proc)
	k.rows = k.rows[:0]
	if table.Entries, err = k.readEntries(proc, p); err != nil {
		return table, fmt.Errorf("read netns %d: %w: %w", inode, fs.ErrNotExist, err)
	}
	p.Entries = table.Entries
	if len(k.rows) > 0 {
		table.Counters = p.tally.Add(k.rows)
	}
	return table, nil
}
