package watcher

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/sysctl"
)

// Timeouts reads the timeouts that are in force in the namespace. One that
// this kernel does not have is 0. So is a negative one: the kernel accepts it and
// ends entries at once (seen on Linux 6.18), and computing with it would be
// wrong. The error is ErrNoTable if there are no timeouts at all.
func (r *TableReader) Timeouts() (conntrack.Timeouts, error) {
	all, err := r.timeouts()
	if errors.Is(err, ErrNoTable) && r.dir != nil {
		_ = r.dir.Close() // the one of a module that was unloaded; it was only read
		r.dir = nil
		all, err = r.timeouts()
	}
	return all, err
}

func (r *TableReader) timeouts() (conntrack.Timeouts, error) {
	if err := r.openDir(); err != nil {
		return conntrack.Timeouts{}, err
	}
	var all conntrack.Timeouts
	found := false
	buf := make([]byte, 32)
	for t := conntrack.TCPSynSent; t < conntrack.NumTimeouts; t++ {
		text, err := readShort(r.dir, t.Sysctl(), buf)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return conntrack.Timeouts{}, fmt.Errorf("read timeout: %w", err)
		}
		found = true
		n, err := sysctl.Parse(text)
		if err != nil {
			return conntrack.Timeouts{}, fmt.Errorf("read %s: %w", r.sysctl(t.Sysctl()), err)
		}
		if n <= math.MaxInt32 {
			all[t] = uint32(n)
		}
	}
	if !found {
		return conntrack.Timeouts{}, ErrNoTable
	}
	return all, nil
}

// openDir opens the directory of the sysctls, which stays that of the namespace
// in which it was opened. Resolving each sysctl by its whole path takes longer
// with each namespace: the directories called netfilter of all namespaces are in
// one hash chain (proc_sys_compare in fs/proc/proc_sysctl.c).
func (r *TableReader) openDir() error {
	if r.dir != nil {
		return nil
	}
	return r.do(func() error {
		dir, err := os.Open(r.sysctl(""))
		if errors.Is(err, fs.ErrNotExist) {
			return ErrNoTable
		}
		if err != nil {
			return fmt.Errorf("open sysctls: %w", err)
		}
		r.dir = dir
		return nil
	})
}

// readShort reads a file of one number without the costs of an os.File: the
// timeouts are many, and read often.
func readShort(dir *os.File, name string, buf []byte) ([]byte, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	n, err := unix.Read(fd, buf)
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return buf[:n], nil
}

// Access reports which sysctls can be written, by their mode, the mount, and the
// rights of the caller. The zero Access permits nothing.
type Access struct {
	// Max is nf_conntrack_max. Other namespaces than the initial one have it
	// read-only since Linux 5.12; before, RHEL 7 and 8 among them, writing it
	// there changes the host's.
	Max bool
	// Buckets is nf_conntrack_buckets, read-only in RHEL 7 and in other
	// namespaces than the initial one.
	Buckets bool
	// Timeouts is nf_conntrack_tcp_timeout_time_wait, which stands for all.
	Timeouts bool
	// ReadOnlyMount is set if /proc/sys is mounted read-only: in a container,
	// or under ProtectKernelTunables= of systemd.
	ReadOnlyMount bool
}

// Access finds the sysctls that could be written, without writing. The error is
// ErrNoTable if there are none.
func (r *TableReader) Access() (Access, error) {
	var a Access
	err := r.do(func() error {
		var fsinfo unix.Statfs_t
		path := filepath.Join(r.root(), "proc/sys")
		if err := unix.Statfs(path, &fsinfo); err != nil {
			return &fs.PathError{Op: "statfs", Path: path, Err: err}
		}
		a.ReadOnlyMount = fsinfo.Flags&unix.ST_RDONLY != 0
		for name, may := range map[string]*bool{
			conntrack.SysctlMax: &a.Max, conntrack.SysctlBuckets: &a.Buckets, conntrack.TCPTimeWait.Sysctl(): &a.Timeouts,
		} {
			var err error
			if *may, err = sysctl.Writable(r.sysctl(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return Access{}, fmt.Errorf("%w: %w", ErrNoTable, err)
	}
	if err != nil {
		return Access{}, fmt.Errorf("probe sysctls: %w", err)
	}
	return a, nil
}
