package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/watcher"
)

// leastID is the least of the id of a container by which it is known.
const leastID = 6

// findCalled opens the namespace that a container runtime, a pod or a unit
// gives its name to, or that is mounted where nobody would look for it. What is
// not there is os.ErrNotExist.
func findCalled(name string) (*netns.NS, error) {
	var roster watcher.Roster
	defer func() { _ = roster.Close() }() // it only read
	if err := roster.Search(); err != nil {
		return nil, err
	}
	var found []string
	var inode uint32
	for _, ns := range roster.All() {
		if isCalled(&ns, name) {
			inode = ns.Inode
			found = append(found, fmt.Sprintf("netns %d (%s)", ns.Inode, ns.Name()))
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("find %q: %w", name, fs.ErrNotExist)
	case 1:
		return roster.Open(inode)
	}
	return nil, hint(fmt.Errorf("%q is the name of %d network namespaces: %s", name, len(found), strings.Join(found, ", ")),
		"ctwarden diagnose --netns NUMBER")
}

func isCalled(ns *watcher.Namespace, name string) bool {
	if len(name) >= leastID && strings.HasPrefix(ns.Container, name) {
		return true
	}
	number := strings.TrimSuffix(strings.TrimPrefix(name, "net:["), "]")
	if !ns.Guessed && number == strconv.FormatUint(uint64(ns.Inode), 10) {
		return true
	}
	return name != "" && slices.Contains([]string{ns.Name(), ns.Called, ns.Container, ns.Pod, ns.Unit, strings.TrimSuffix(ns.Unit, ".service")}, name)
}

// findNamespace opens what a person named, in whatever way.
func findNamespace(name string) (*netns.NS, error) {
	ns, err := netns.Find(name)
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return ns, err
	}
	called, calledErr := findCalled(name)
	if calledErr == nil || !errors.Is(calledErr, fs.ErrNotExist) {
		return called, calledErr
	}
	return nil, err
}
