package watcher_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/watcher"
)

func TestFind(t *testing.T) {
	needNetNS(t)
	ns := newNetNS(t)
	path := "/proc/self/task/" + strconv.Itoa(ns.TID()) + "/ns/net"
	own, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	for name, want := range map[string]*netns.NS{
		path: ns,
		strconv.FormatUint(uint64(ns.Inode()), 10): ns,
		ns.String():               ns,
		strconv.Itoa(os.Getpid()): own,
		own.String():              own,
	} {
		found, err := watcher.Find(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if found.Inode() != want.Inode() {
			t.Errorf("%s: found %s, want %s", name, found, want)
		}
		if err := found.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestFindByName names a namespace as ip netns does: by a file on which it is
// mounted.
func TestFindByName(t *testing.T) {
	needNetNS(t)
	ns := newNetNS(t)
	const dir = "/run/netns"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.CreateTemp(dir, "ctwarden-test-*")
	if err != nil {
		t.Fatal(err)
	}
	path := file.Name()
	t.Cleanup(func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	})
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	source := "/proc/self/task/" + strconv.Itoa(ns.TID()) + "/ns/net"
	if err := unix.Mount(source, path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	found, err := watcher.Find(filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	if found.Inode() != ns.Inode() {
		t.Errorf("found %s, want %s", found, ns)
	}
}

func TestFindReportsAMissingNamespace(t *testing.T) {
	for _, name := range []string{"", ".", "..", "no-such-name", "/no/such/path", "2147483647", "4294967295", "net:[1]", "net:[x]", "-1", fmt.Sprintf("net:[%d]", os.Getpid())} {
		if ns, err := watcher.Find(name); !errors.Is(err, fs.ErrNotExist) {
			if err == nil {
				_ = ns.Close()
			}
			// Even root may not look into every process of a sandbox.
			if !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
	if ns, err := watcher.Find("/proc/self/ns/mnt"); err == nil {
		_ = ns.Close()
		t.Error("another kind of namespace was taken")
	}
}

// TestOpenedFindsANamespaceByItsMount has a namespace without a process, in a
// directory that nobody keeps namespaces in.
func TestOpenedFindsANamespaceByItsMount(t *testing.T) {
	cttest.NeedRoot(t)
	s := cttest.Mount(t, 1, func(int, *netns.NS) {})
	o := watcher.Opened{}
	ns, err := o.Find(s.Inodes[0])
	if err != nil {
		t.Fatal(err)
	}
	if again, err := o.Find(s.Inodes[0]); err != nil || again != ns || ns.Inode() != s.Inodes[0] {
		t.Errorf("found %v, then %v, %v", ns, again, err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	if _, err := (watcher.Opened{}).Find(1); err == nil {
		t.Error("found a namespace that is not there")
	}
}
