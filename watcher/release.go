package watcher

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// KernelRelease returns what uname -r prints, or "unknown" if uname fails.
func KernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return string(u.Release[:max(bytes.IndexByte(u.Release[:], 0), 0)])
}
