package remediate

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// The errors of a read or a write of a sysctl. The errno stays in the chain, so
// that os.ErrPermission and os.ErrNotExist match as well.
var (
	// ErrNoConntrack: the file is not there; nf_conntrack is not loaded, or
	// this kernel lacks the timeout.
	ErrNoConntrack = errors.New("nf_conntrack is not loaded")
	// ErrReadOnly: /proc/sys is mounted read-only, as in most containers and
	// under systemd's ProtectKernelTunables.
	ErrReadOnly = errors.New("/proc/sys is read-only")
	// ErrNotPermitted: without CAP_NET_ADMIN, or max and buckets in another
	// namespace than the first, or buckets on RHEL 7.
	ErrNotPermitted = errors.New("not permitted")
	// ErrNoMemory: the kernel found no memory for a new hash table.
	ErrNoMemory = errors.New("the kernel has no memory for it")
	// ErrInvalid: the kernel, or this package before it, refuses the value.
	ErrInvalid = errors.New("invalid value")
	// ErrReadBack: the kernel accepted a value and then returned another one.
	ErrReadBack = errors.New("another value stands there after the write")
)

// Bounds of the values that are written. Kernels before 5.15 take a negative
// number and make a huge one of it (proc_dointvec), so this package checks first.
const (
	mostMax = math.MaxInt32
	// mostSeconds is INT_MAX jiffies at HZ=100: every kernel refuses a larger
	// number (proc_dointvec_jiffies), one with a higher HZ some smaller ones.
	mostSeconds = math.MaxInt32 / 100
)

// hostWide reports whether a sysctl is one number for all namespaces.
func hostWide(name string) bool {
	return name == conntrack.SysctlMax || name == conntrack.SysctlBuckets
}

// most is the largest value that is written to a sysctl.
func most(name string) uint64 {
	switch name {
	case conntrack.SysctlMax:
		return mostMax
	case conntrack.SysctlBuckets:
		return conntrack.MostBuckets
	}
	return mostSeconds
}

// checkValue refuses a value that no kernel takes, or that an old kernel would
// misread. 0 would be no limit, or a timeout that expires at once.
func checkValue(name string, v uint64) error {
	if v == 0 || v > most(name) {
		return fmt.Errorf("%s = %d is not between 1 and %d: %w", name, v, most(name), ErrInvalid)
	}
	return nil
}

// pageBuckets is how many buckets fill a page: the kernel rounds up to whole
// pages (nf_ct_alloc_hashtable), which hold 512 buckets where a page is 4 KiB.
func pageBuckets() uint64 { return uint64(os.Getpagesize()) / 8 }

// reached reports whether got is what the kernel makes of want.
func reached(name string, want, got uint64) bool {
	if name == conntrack.SysctlBuckets {
		return got >= want && got-want < pageBuckets()
	}
	return got == want
}

// sysctls reads and writes the files below a proc root. Which namespace they
// belong to depends on the calling thread.
type sysctls struct {
	proc string
	// fault fails, or ends the process, at a step. Nil but in tests.
	fault func(step string) error
}

func (s sysctls) at(step string) error {
	if s.fault == nil {
		return nil
	}
	return s.fault(step)
}

func (s sysctls) path(name string) string {
	return filepath.Join(s.proc, "sys", conntrack.SysctlDir, name)
}

func (s sysctls) read(name string) (uint64, error) {
	text, err := s.readText(name)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, explained(err))
	}
	v, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		// An old kernel shows a max of 4294967295 as -1.
		return 0, fmt.Errorf("read %s: %q: %w", name, text, ErrInvalid)
	}
	return v, nil
}

func (s sysctls) readText(name string) (string, error) {
	if err := s.at("read " + name); err != nil {
		return "", err
	}
	f, err := os.Open(s.path(name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64))
	return string(text), err
}

// write makes one write of the whole number: the kernel refuses a second one
// at a later offset (sysctl_writes_strict).
func (s sysctls) write(name string, v uint64) error {
	if err := checkValue(name, v); err != nil {
		return err
	}
	if err := s.writeText(name, strconv.FormatUint(v, 10)); err != nil {
		return fmt.Errorf("write %d to %s: %w", v, name, explained(err))
	}
	return nil
}

func (s sysctls) writeText(name, text string) error {
	if err := s.at("write " + name); err != nil {
		return err
	}
	f, err := os.OpenFile(s.path(name), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return s.at("wrote " + name)
}

// explained adds the meaning of an errno here.
func explained(err error) error {
	for _, e := range [...]struct {
		errno unix.Errno
		means error
	}{
		{unix.ENOENT, ErrNoConntrack},
		{unix.EROFS, ErrReadOnly},
		{unix.EACCES, ErrNotPermitted},
		{unix.EPERM, ErrNotPermitted},
		{unix.ENOMEM, ErrNoMemory},
		{unix.EINVAL, ErrInvalid},
	} {
		if errors.Is(err, e.errno) {
			return fmt.Errorf("%w: %w", e.means, err)
		}
	}
	return err
}
