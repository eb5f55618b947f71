package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// pidLimit is more than any process id: PID_MAX_LIMIT is 2^22. The inode
// numbers of namespaces begin at 0xeffffff0 (PROC_ROOT_INO and its like in
// include/linux/proc_ns.h), so that a number is one or the other.
const pidLimit = 1 << 31

// namedIn are the directories in which ip netns, Docker and others keep
// namespaces open.
func namedIn() []string { return []string{"/run/netns", "/var/run/netns", "/run/docker/netns"} }

// Find opens the namespace that a person named: by its name in ip netns, a
// path, the id of a process in it, or its inode number, with or without the
// "net:[…]" of the kernel's links. What is not there is os.ErrNotExist. See
// Open for the privileges that it needs.
func Find(name string) (*NS, error) {
	if strings.Contains(name, "/") {
		return Open(name)
	}
	for _, dir := range namedIn() {
		// A name with dots in it is still one in this directory.
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil && name != "" && name != "." && name != ".." {
			return Open(path)
		}
	}
	digits := strings.TrimSuffix(strings.TrimPrefix(name, "net:["), "]")
	number, err := strconv.ParseUint(digits, 10, 32)
	switch {
	case err != nil:
		return nil, fmt.Errorf("no network namespace is named %q: %w", name, fs.ErrNotExist)
	case number < pidLimit && digits == name:
		return Open(fmt.Sprintf("/proc/%d/ns/net", number))
	}
	return findInode(uint32(number))
}

// findInode looks for the namespace among those that have a name and those
// that a process is in. One that is only held open by a file or a socket is
// not found.
func findInode(inode uint32) (*NS, error) {
	patterns := []string{"/proc/self/ns/net"}
	for _, dir := range namedIn() {
		patterns = append(patterns, dir+"/*")
	}
	patterns = append(patterns, "/proc/[0-9]*/ns/net", "/proc/[0-9]*/task/[0-9]*/ns/net")
	// Where not even the first process is to be seen, others are hidden, and
	// what is not found may be there all the same.
	_, err := os.Stat("/proc/1")
	denied := err != nil
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err // the pattern is wrong, which a test would have found
		}
		for _, path := range paths {
			found, err := hasInode(path, inode)
			denied = denied || errors.Is(err, fs.ErrPermission)
			if !found {
				continue
			}
			ns, err := Open(path)
			if err == nil && ns.Inode() != inode { // it went away just now
				err = errors.Join(fs.ErrNotExist, ns.Close())
			}
			if err != nil {
				return nil, err
			}
			return ns, nil
		}
	}
	err = fs.ErrNotExist
	if denied {
		err = fs.ErrPermission
	}
	return nil, fmt.Errorf("find network namespace %d: %w", inode, err)
}

func hasInode(path string, inode uint32) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && uint32(stat.Ino) == inode && stat.Ino>>32 == 0, nil
}
