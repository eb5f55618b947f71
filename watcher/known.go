package watcher

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/netns"
)

// Known are the network namespaces of the host and the number of entries of
// each. It finds those with a process or a mount, and not those that only a
// socket, a file or another thread of a process holds.
//
// A namespace with a process is read through /proc/PID/net, which needs no
// privilege. One without is entered once, for which CAP_SYS_ADMIN is needed,
// to open its nf_conntrack_count. Neither keeps the namespace alive: reading an
// open sysctl of a namespace that is gone fails, while an open file below
// /proc/PID/net would hold it.
//
// Sweep is for one goroutine; the other methods may be called by any.
type Known struct {
	// Root is the directory below which proc is found; empty is "/".
	Root string
	// Own is the namespace of the process, which is left out.
	Own uint32

	mu          sync.Mutex
	known       map[uint32]*knownNamespace
	former      map[uint32]Namespace
	formerOrder []uint32 // of gone, the oldest first
	hidden      int

	buf  []byte
	rows []conntrack.CPUStat
}

// A knownNamespace is where one namespace is read.
type knownNamespace struct {
	Namespace
	file  uint64 // the inode of its counters in procfs
	count int    // an open nf_conntrack_count, or -1
	seen  bool   // by this search
	// stable is set once two searches found PID and read its names.
	stable bool
	tally  conntrack.CounterSum
}

// maxFormer bounds the former namespaces whose names are kept.
const maxFormer = 1024

// Search finds the namespaces that exist now.
func (k *Known) Search() error {
	mounts, err := os.ReadFile(filepath.Join(k.root(), "proc/self/mountinfo"))
	if err != nil {
		return fmt.Errorf("find network namespaces: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known == nil {
		k.known, k.former = map[uint32]*knownNamespace{}, map[uint32]Namespace{}
	}
	for _, p := range k.known {
		p.seen = false
	}
	mounted := mountedNamespaces(mounts)
	for inode, where := range mounted {
		k.markSeen(inode, func(p *knownNamespace) { p.Mount = where })
	}
	if err := k.searchProcesses(); err != nil {
		return fmt.Errorf("find network namespaces: %w", err)
	}
	for inode, p := range k.known {
		if !p.seen {
			k.remove(inode)
		} else if mounted[inode] == "" {
			p.Mount = ""
		}
	}
	k.openCounts()
	return nil
}

// markSeen adds or updates a namespace that the search found.
func (k *Known) markSeen(inode uint32, update func(*knownNamespace)) {
	if inode == k.Own {
		return
	}
	p := k.known[inode]
	if p == nil {
		p = &knownNamespace{Namespace: Namespace{Inode: inode}, count: -1}
		k.known[inode] = p
	}
	p.seen = true
	update(p)
}

// searchProcesses reads the namespace of the first thread of every process.
func (k *Known) searchProcesses() error {
	proc, err := os.Open(filepath.Join(k.root(), "proc"))
	if err != nil {
		return err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return err
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	k.hidden = 0
	files := k.counterFiles(int(proc.Fd()))
	first := map[uint32]bool{}
	for _, pid := range pids {
		inode, guessed, err := namespaceOf(int(proc.Fd()), pid)
		if errors.Is(err, fs.ErrPermission) {
			k.hidden++
		}
		if guessed {
			inode = cmp.Or(files[uint64(inode)], inode)
		}
		if err != nil || first[inode] {
			continue
		}
		first[inode] = true
		k.markSeen(inode, func(p *knownNamespace) {
			fresh := p.PID != pid
			if fresh {
				p.PID, p.file, p.Guessed = pid, 0, guessed && inode != k.Own
			}
			if fresh || !p.stable {
				// A runtime makes the namespace, and becomes the program a
				// moment later.
				p.describe(k.root())
				p.stable = !fresh
			}
		})
	}
	for _, p := range k.known {
		if p.seen && p.PID != 0 && !first[p.Inode] {
			p.PID, p.file = 0, 0 // the last process has left; its names stay
		}
	}
	return nil
}

// counterFiles maps the inodes of counter files to their namespaces, where that
// is known: for the own one and those that were entered.
func (k *Known) counterFiles(proc int) map[uint64]uint32 {
	files := map[uint64]uint32{}
	for inode, p := range k.known {
		if !p.Guessed && p.file != 0 {
			files[p.file] = inode
		}
	}
	var stat unix.Stat_t
	if unix.Fstatat(proc, "self/net/stat/nf_conntrack", &stat, 0) == nil {
		files[stat.Ino] = k.Own
	}
	return files
}

// namespaceOf returns the number of the namespace of a process. Without access
// to the process (ptrace_may_access) it returns the inode of the counter file,
// of which each namespace has its own.
func namespaceOf(proc, pid int) (inode uint32, guessed bool, err error) {
	var stat unix.Stat_t
	name := strconv.Itoa(pid)
	err = unix.Fstatat(proc, name+"/ns/net", &stat, 0)
	if errors.Is(err, fs.ErrPermission) {
		err, guessed = unix.Fstatat(proc, name+"/net/stat/nf_conntrack", &stat, 0), true
	}
	if err == nil && (stat.Ino == 0 || stat.Ino>>32 != 0) {
		err = fs.ErrInvalid
	}
	return uint32(stat.Ino), guessed, err
}

// remove moves a namespace to the former ones, which keeps its names.
func (k *Known) remove(inode uint32) {
	p := k.known[inode]
	p.close()
	delete(k.known, inode)
	if _, ok := k.former[inode]; !ok {
		k.formerOrder = append(k.formerOrder, inode)
	}
	k.former[inode] = p.Namespace
	if len(k.formerOrder) > maxFormer {
		delete(k.former, k.formerOrder[0])
		k.formerOrder = append(k.formerOrder[:0], k.formerOrder[1:]...)
	}
}

// openCounts enters the namespaces that can't be read through a process.
func (k *Known) openCounts() {
	var paths []string
	var places []*knownNamespace
	for _, p := range k.known {
		if p.count >= 0 || p.PID != 0 && !p.Unread || p.Guessed {
			continue
		}
		path := filepath.Join(k.root(), p.Mount)
		if p.Mount == "" {
			path = filepath.Join(k.root(), "proc", strconv.Itoa(p.PID), "ns/net")
		}
		paths, places = append(paths, path), append(places, p)
	}
	if len(paths) == 0 {
		return
	}
	_ = netns.Visit(paths, func(i int, err error) { // without the right to enter they stay unread
		if err == nil {
			places[i].openCount(k.root())
		}
	})
}

// openCount opens the sysctl of the namespace that the thread is in, if that is the
// one that is meant: the mount may be that of another one by now.
func (p *knownNamespace) openCount(root string) {
	var stat unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &stat); err != nil || uint32(stat.Ino) != p.Inode {
		return
	}
	fd, err := unix.Open(filepath.Join(root, "proc/sys", conntrack.SysctlDir, conntrack.SysctlCount), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	p.count = fd
	if unix.Stat(filepath.Join(root, statFile), &stat) == nil {
		p.file = stat.Ino
	}
}

func (p *knownNamespace) close() {
	if p.count >= 0 {
		_ = unix.Close(p.count) // it was only read
		p.count = -1
	}
}

// Lookup returns a namespace, also a former one; here is false for that.
func (k *Known) Lookup(inode uint32) (n Namespace, here bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.known[inode]; p != nil {
		return p.Namespace, true
	}
	n, ok := k.former[inode]
	if !ok {
		n.Inode = inode
	}
	return n, false
}

// InUse reports whether the mount or the process by which a namespace was found
// is still there. It is false for a namespace that only the caller holds.
func (k *Known) InUse(inode uint32) bool {
	n, here := k.Lookup(inode)
	if !here {
		return false
	}
	var stat unix.Stat_t
	if n.Mount != "" && unix.Stat(filepath.Join(k.root(), n.Mount), &stat) == nil && stat.Ino == uint64(inode) {
		return true
	}
	if n.PID == 0 {
		return false
	}
	proc, err := unix.Open(filepath.Join(k.root(), "proc"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(proc)
	now, guessed, err := namespaceOf(proc, n.PID)
	return err == nil && (now == inode || guessed && n.Guessed)
}

// All returns the known namespaces, by number.
func (k *Known) All() []Namespace {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]Namespace, 0, len(k.known))
	for _, inode := range slices.Sorted(maps.Keys(k.known)) {
		all = append(all, k.known[inode].Namespace)
	}
	return all
}

// Open opens a namespace to act in it, and checks its number. The error is
// os.ErrNotExist if the namespace is gone.
func (k *Known) Open(inode uint32) (*netns.NS, error) {
	n, here := k.Lookup(inode)
	if !here {
		return nil, fmt.Errorf("open netns %d: %w", inode, fs.ErrNotExist)
	}
	paths := make([]string, 0, 2)
	if n.PID != 0 {
		paths = append(paths, filepath.Join(k.root(), "proc", strconv.Itoa(n.PID), "ns/net"))
	}
	if n.Mount != "" {
		paths = append(paths, n.Mount)
	}
	err := fs.ErrNotExist
	for _, path := range paths {
		ns, openErr := netns.Open(path)
		if openErr != nil {
			err = openErr
			continue
		}
		if ns.Inode() == inode {
			return ns, nil
		}
		err = errors.Join(fs.ErrNotExist, ns.Close())
	}
	return nil, fmt.Errorf("open netns %d: %w", inode, err)
}

// Close closes the open files.
func (k *Known) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.known {
		p.close()
	}
	return nil
}

func (k *Known) root() string { return cmp.Or(strings.TrimSuffix(k.Root, "/"), "/") }
