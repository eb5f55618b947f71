package watcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// pidLimit is more than any process id: PID_MAX_LIMIT is 2^22. The inode
// numbers of namespaces begin at 0xeffffff0 (PROC_ROOT_INO and its like in
// include/linux/proc_ns.h), so that a number is one or the other.
const pidLimit = 1 << 31

// minContainerID is the shortest prefix of a container's id that Find accepts.
const minContainerID = 6

// mountDirs are the directories in which ip netns, Docker and others keep
// namespaces open.
func mountDirs() []string { return []string{"/run/netns", "/var/run/netns", "/run/docker/netns"} }

// An AmbiguousError reports a name that several namespaces have, and lists
// them.
type AmbiguousError struct{ error }

// Find opens a namespace by its name in ip netns, a path, the id of a process
// in it, its inode number (with or without the "net:[…]" of the kernel's
// links), or the name of its container, pod or unit. The error is
// os.ErrNotExist if there is no such namespace, os.ErrPermission if a number
// is not found and hidden processes may have it, and *AmbiguousError if several
// namespaces have the name. See netns.Open for the privileges that Find needs.
func Find(name string) (*netns.NS, error) {
	ns, err := findByPath(name)
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return ns, err
	}
	called, calledErr := findByName(name)
	if calledErr == nil || !errors.Is(calledErr, fs.ErrNotExist) {
		return called, calledErr
	}
	if number, err := strconv.ParseUint(digits(name), 10, 32); err == nil && (number >= pidLimit || digits(name) != name) {
		return findByThread(uint32(number))
	}
	return nil, err
}

// digits returns the number in the "net:[…]" of the kernel's links, or name.
func digits(name string) string { return strings.TrimSuffix(strings.TrimPrefix(name, "net:["), "]") }

// findByPath opens a namespace by its path, its name in ip netns or a process.
func findByPath(name string) (*netns.NS, error) {
	if strings.Contains(name, "/") {
		return netns.Open(name)
	}
	for _, dir := range mountDirs() {
		// A name with dots in it is still one in this directory.
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil && name != "" && name != "." && name != ".." {
			return netns.Open(path)
		}
	}
	if pid, err := strconv.ParseUint(name, 10, 32); err == nil && pid < pidLimit {
		return netns.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	}
	return nil, fmt.Errorf("no network namespace is named %q: %w", name, fs.ErrNotExist)
}

// findByName opens the namespace with an inode number, or with the name of a
// container, a pod or a unit, wherever it is mounted.
func findByName(name string) (*netns.NS, error) {
	var known Known
	defer func() { _ = known.Close() }() // it only read
	if err := known.Search(); err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(known.All(), func(ns Namespace) bool { return !ns.hasName(name) })
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("find %q: %w", name, fs.ErrNotExist)
	case 1:
		return known.Open(found[0].Inode)
	}
	names := make([]string, len(found))
	for i := range found {
		names[i] = fmt.Sprintf("netns %d (%s)", found[i].Inode, found[i].Name())
	}
	return nil, &AmbiguousError{fmt.Errorf("%q is the name of %d network namespaces: %s", name, len(found), strings.Join(names, ", "))}
}

func (n *Namespace) hasName(name string) bool {
	if len(name) >= minContainerID && strings.HasPrefix(n.Container, name) {
		return true
	}
	if !n.Guessed && digits(name) == strconv.FormatUint(uint64(n.Inode), 10) {
		return true
	}
	return name != "" && slices.Contains([]string{n.Name(), n.RuntimeName, n.Container, n.Pod, n.Unit, strings.TrimSuffix(n.Unit, ".service")}, name)
}

// findByThread searches the namespaces of all threads: a process's threads may
// be in several. It does not find a namespace that only a file or a socket
// holds open.
func findByThread(inode uint32) (*netns.NS, error) {
	// Where the first process is hidden, others are too, and one of them may
	// be in the namespace.
	_, err := os.Stat("/proc/1")
	denied := err != nil
	paths, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*/ns/net")
	if err != nil {
		return nil, err // the pattern is wrong, which a test would have found
	}
	for _, path := range paths {
		found, err := hasInode(path, inode)
		denied = denied || errors.Is(err, fs.ErrPermission)
		if !found {
			continue
		}
		ns, err := netns.Open(path)
		if err == nil && ns.Inode() != inode { // it went away just now
			err = errors.Join(fs.ErrNotExist, ns.Close())
		}
		if err != nil {
			return nil, err
		}
		return ns, nil
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

// Opened are the namespaces that one command has entered, by number.
type Opened map[uint32]*netns.NS

// Find enters a namespace, once. It stays open until Close.
func (o Opened) Find(inode uint32) (*netns.NS, error) {
	if ns := o[inode]; ns != nil {
		return ns, nil
	}
	ns, err := Find(fmt.Sprintf("net:[%d]", inode))
	if err != nil {
		return nil, err
	}
	o[inode] = ns
	return ns, nil
}

// Close leaves the namespaces.
func (o Opened) Close() error {
	var err error
	for _, ns := range o {
		err = errors.Join(err, ns.Close())
	}
	return err
}
