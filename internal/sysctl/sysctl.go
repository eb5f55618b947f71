package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// Writable opens a sysctl for writing and closes it, which changes nothing. The
// open also checks capabilities (net_ctl_permissions in net/sysctl_net.c), which
// access(2) does not. A file without a write bit is not opened.
func Writable(path string) (bool, error) {
	stat, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	if stat.Mode().Perm()&0o222 == 0 {
		return false, nil
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS) {
		return false, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return true, unix.Close(fd)
}

// Parse reads a decimal number and its newline. A negative one stands
// for the unsigned 32-bit number that the kernel holds.
func Parse(text []byte) (uint64, error) {
	if n := len(text); n > 0 && text[n-1] == '\n' {
		text = text[:n-1]
	}
	digits := text
	negative := len(text) > 0 && text[0] == '-'
	if negative {
		digits = text[1:]
	}
	var n uint64
	for _, c := range digits {
		if c < '0' || '9' < c || n > math.MaxUint32 {
			return 0, badNumber(text)
		}
		n = n*10 + uint64(c-'0')
	}
	if len(digits) == 0 || n > math.MaxUint32 || negative && n > 1<<31 {
		return 0, badNumber(text)
	}
	if negative {
		n = uint64(-uint32(n))
	}
	return n, nil
}

func badNumber(text []byte) error {
	return fmt.Errorf("not a number of 32 bits: %s", conntrack.Printable(string(text), 40))
}
