package watcher_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/watcher"
)

// keep mounts a namespace on a file, as ip netns does, and lets go of it: no
// thread and no file holds it any more.
func keep(tb testing.TB, dir, name string, ns *netns.NS) (path string) {
	tb.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.File().Fd()), path, "", unix.MS_BIND, ""); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	return path
}

// ownMounts gives the test a directory on which namespaces can be mounted.
func ownMounts(tb testing.TB) string {
	tb.Helper()
	needNetNS(tb)
	return tb.TempDir()
}

func newRoster(tb testing.TB) *watcher.Roster {
	tb.Helper()
	own, err := netns.Current()
	if err != nil {
		tb.Fatal(err)
	}
	defer own.Close()
	r := &watcher.Roster{Own: own.Inode()}
	tb.Cleanup(func() { _ = r.Close() })
	if err := r.Search(); err != nil {
		tb.Fatal(err)
	}
	return r
}

// inProcess starts a process in a fresh namespace and returns the namespace.
func inProcess(tb testing.TB) (inode uint32, pid int) {
	tb.Helper()
	program, err := exec.LookPath("sleep")
	if err != nil {
		tb.Skip("needs the program sleep for a process in a namespace")
	}
	c := exec.Command(program, "3600")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: 0}
	if err := c.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	info, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", c.Process.Pid))
	if err != nil {
		tb.Fatal(err)
	}
	return uint32(info.Sys().(*syscall.Stat_t).Ino), c.Process.Pid
}

func TestRosterFindsTheFullOneOfTwoHundred(t *testing.T) {
	dir := ownMounts(t)
	const full, entries = 137, 3000
	var inode uint32
	for i := range 200 {
		ns, err := netns.New()
		if err != nil {
			t.Fatal(err)
		}
		if i == full {
			inode = ns.Inode()
			cttest.Fill(t, ns, entries, cttest.Assured())
		}
		keep(t, dir, "ns"+strconv.Itoa(i), ns)
		if err := ns.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r := newRoster(t)
	s := r.Sweep(entries)
	if s.Namespaces < 200 || len(s.Full) != 1 || s.Full[0].Inode != inode || s.Full[0].Entries != entries {
		t.Fatalf("sweep %+v, want only netns %d of 200 with %d entries", s, inode, entries)
	}
	if want := filepath.Join(dir, "ns"+strconv.Itoa(full)); s.Full[0].Name() != want {
		t.Errorf("named %q, want %q", s.Full[0].Name(), want)
	}
	ns, err := r.Open(inode)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if n := cttest.Count(t, ns); n != entries {
		t.Errorf("the namespace that was opened has %d entries, want %d", n, entries)
	}
}

func TestRosterLetsANamespaceGoAndRemembersItsName(t *testing.T) {
	dir := ownMounts(t)
	ns := newNetNS(t)
	inode := ns.Inode()
	path := keep(t, dir, "short-lived", ns)
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	r := newRoster(t)
	r.Sweep(0)
	if n, here := r.Named(inode); !here || n.Unread || n.Name() != path {
		t.Fatalf("knows %+v, %t", n, here)
	}
	if err := unix.Unmount(path, 0); err != nil {
		t.Fatal(err)
	}
	// A Roster that kept it alive would still read its count. The kernel takes
	// namespaces down in a worker of its own.
	deadline := time.Now().Add(20 * time.Second)
	for s := r.Sweep(0); ; s = r.Sweep(0) {
		if _, here := r.Named(inode); !here {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still there: %+v", s)
		}
	}
	n, _ := r.Named(inode)
	if n.Name() != path {
		t.Errorf("called %q when it is gone, want %q", n.Name(), path)
	}
	if _, err := r.Open(inode); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened: %v", err)
	}
}

func TestRosterReadsThroughAProcessWithoutEntering(t *testing.T) {
	needNetNS(t)
	inode, pid := inProcess(t)
	ns, err := netns.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	cttest.Fill(t, ns, 500, cttest.Assured())
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	r := newRoster(t)
	s := r.Sweep(500)
	if len(s.Full) == 0 {
		t.Fatalf("sweep %+v", s)
	}
	n, here := r.Named(inode)
	if !here || n.Entries != 500 || n.PID != pid || n.Comm != "sleep" {
		t.Errorf("knows %+v, %t", n, here)
	}
}

// TestRosterCountsWhatItMayNotLookAt searches in a thread without rights, to
// which the kernel does not tell the namespaces of others' processes.
func TestRosterCountsWhatItMayNotLookAt(t *testing.T) {
	needNetNS(t)
	inode, pid := inProcess(t)
	ns, err := netns.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	cttest.Fill(t, ns, 300, cttest.Assured())
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	own, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	r := &watcher.Roster{Own: own.Inode()}
	defer func() { _ = r.Close() }()
	var sweep watcher.Sweep
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends without its rights
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		err := unix.Capset(&header, &none[0])
		if err == nil {
			err = r.Search()
		}
		if err == nil {
			sweep = r.Sweep(300)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, here := r.Named(inode); here {
		t.Skip("needs a kernel that keeps the namespaces of others' processes to itself")
	}
	info, err := os.Stat("/proc/self/net/stat/nf_conntrack")
	if err != nil {
		t.Skipf("needs CONFIG_NF_CONNTRACK_PROCFS: %v", err)
	}
	for _, n := range r.All() {
		if uint64(n.Inode) == info.Sys().(*syscall.Stat_t).Ino {
			t.Errorf("took the own namespace for another: %+v", n)
		}
	}
	for _, n := range sweep.Full {
		if n.PID == pid {
			if !n.Guessed || n.Entries != 300 || n.Inode == inode {
				t.Errorf("counted as %+v", n)
			}
			return
		}
	}
	t.Errorf("not counted: %+v", sweep)
}

// BenchmarkRosterSweep sweeps a thousand namespaces, half of them with a
// process and half of them only mounted.
func BenchmarkRosterSweep(b *testing.B) {
	const half = 500
	dir := ownMounts(b)
	for i := range half {
		ns, err := netns.New()
		if err != nil {
			b.Fatal(err)
		}
		keep(b, dir, "ns"+strconv.Itoa(i), ns)
		if err := ns.Close(); err != nil {
			b.Fatal(err)
		}
		inProcess(b)
	}
	b.Run("search and sweep", func(b *testing.B) {
		r := newRoster(b)
		for b.Loop() {
			if err := r.Search(); err != nil {
				b.Fatal(err)
			}
			if s := r.Sweep(1); s.Namespaces < 2*half || s.Unread > 0 {
				b.Fatalf("%+v", s)
			}
		}
	})
	b.Run("sweep", func(b *testing.B) {
		r := newRoster(b)
		for b.Loop() {
			if s := r.Sweep(1); s.Namespaces < 2*half || s.Unread > 0 {
				b.Fatalf("%+v", s)
			}
		}
	})
}
