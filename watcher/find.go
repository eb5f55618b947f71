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

// minContainerID is the least of the id of a container by which it is known.
const minContainerID = 6

// mountDirs are the directories in which ip netns, Docker and others keep
// namespaces open.
func mountDirs() []string { return []string{"/run/netns", "/var/run/netns", "/run/docker/netns"} }

// An AmbiguousError is a name that several namespaces have. It lists them.
type AmbiguousError struct{ error }

// Find opens the namespace that a person named: by its name in ip netns, a
// path, the id of a process in it, its inode number (with or without the
// "net:[…]" of the kernel's links), or the name that a container runtime, a pod
// or a unit gives it. What is not there is os.ErrNotExist; a number that is not
// found where processes are hidden is os.ErrPermission, for it may be there all
// the same. A name of several namespaces is an *AmbiguousError. See netns.Open
// for the privileges that it needs.
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

// findByName opens the namespace with a number, or the one that a container
// runtime, a pod or a unit gives its name to, wherever it is mounted.
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

// findByThread looks for a namespace among those of all threads; the first of a
// process is often in another one than the rest. A namespace that is only held
// open by a file or a socket is not found.
func findByThread(inode uint32) (*netns.NS, error) {
	// Where not even the first process is to be seen, others are hidden, and
	// what is not found may be there all the same.
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
