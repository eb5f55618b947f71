package watcher_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
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

func newKnown(tb testing.TB) *watcher.Known {
	tb.Helper()
	own, err := netns.Current()
	if err != nil {
		tb.Fatal(err)
	}
	defer own.Close()
	r := &watcher.Known{Own: own.Inode()}
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

func TestKnownFindsTheFullOneOfTwoHundred(t *testing.T) {
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
	r := newKnown(t)
	s := r.Sweep(entries)
	// What else runs on the machine may have full tables, too.
	ours := slices.DeleteFunc(slices.Clone(s.Full), func(n watcher.Namespace) bool { return filepath.Dir(n.Mount) != dir })
	if s.Namespaces < 200 || len(ours) != 1 || ours[0].Inode != inode || ours[0].Entries != entries {
		t.Fatalf("sweep %+v, want only netns %d of 200 with %d entries", s, inode, entries)
	}
	if want := filepath.Join(dir, "ns"+strconv.Itoa(full)); ours[0].Name() != want {
		t.Errorf("named %q, want %q", ours[0].Name(), want)
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

func TestKnownKeepsTheNameOfAFormerNamespace(t *testing.T) {
	dir := ownMounts(t)
	ns := newNetNS(t)
	inode := ns.Inode()
	path := keep(t, dir, "short-lived", ns)
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	r := newKnown(t)
	r.Sweep(0)
	if n, here := r.Lookup(inode); !here || n.Unread || n.Name() != path {
		t.Fatalf("knows %+v, %t", n, here)
	}
	if err := unix.Unmount(path, 0); err != nil {
		t.Fatal(err)
	}
	// A Known that kept it alive would still read its count. The kernel takes
	// namespaces down in a worker of its own, one batch after the other: on a
	// machine that is busy with those of others it takes its time.
	deadline := time.Now().Add(3 * time.Minute)
	for s := r.Sweep(0); ; s = r.Sweep(0) {
		if _, here := r.Lookup(inode); !here {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still there: %+v", s)
		}
		time.Sleep(10 * time.Millisecond)
	}
	n, _ := r.Lookup(inode)
	if n.Name() != path {
		t.Errorf("called %q when it is gone, want %q", n.Name(), path)
	}
	if _, err := r.Open(inode); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened: %v", err)
	}
}

func TestKnownReportsUnusedNamespaces(t *testing.T) {
	dir := ownMounts(t)
	ns := newNetNS(t)
	path := keep(t, dir, "deserted", ns)
	inhabited, pid := inProcess(t)
	r := newKnown(t)
	if !r.InUse(ns.Inode()) || !r.InUse(inhabited) || r.InUse(1) {
		t.Errorf("held: the mounted %t, the inhabited %t, one that is not there %t", r.InUse(ns.Inode()), r.InUse(inhabited), r.InUse(1))
	}
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if r.InUse(ns.Inode()) {
		t.Error("held by a mount that is gone")
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(process.Kill(), gone(process)); err != nil {
		t.Fatal(err)
	}
	if r.InUse(inhabited) {
		t.Error("held by a process that is gone")
	}
}

// gone waits until a process has left its namespaces; its exit status is for
// whoever started it.
func gone(p *os.Process) error {
	var info unix.Siginfo
	return unix.Waitid(unix.P_PID, p.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
}

func TestKnownReadsThroughAProcessWithoutEntering(t *testing.T) {
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
	r := newKnown(t)
	s := r.Sweep(500)
	if len(s.Full) == 0 {
		t.Fatalf("sweep %+v", s)
	}
	n, here := r.Lookup(inode)
	if !here || n.Entries != 500 || n.PID != pid || n.Comm != "sleep" {
		t.Errorf("knows %+v, %t", n, here)
	}
}

// TestKnownEntersANamespaceWithoutProcfsCounters has a procfs as of a kernel without
// CONFIG_NF_CONNTRACK_PROCFS, such as Ubuntu's 5.4 and 6.8.
func TestKnownEntersANamespaceWithoutProcfsCounters(t *testing.T) {
	needNetNS(t)
	inode, pid := inProcess(t)
	ns, err := netns.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	cttest.Fill(t, ns, 60, cttest.Assured())
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	proc := filepath.Join(t.TempDir(), "proc")
	name := strconv.Itoa(pid)
	for _, dir := range []string{"self", filepath.Join(name, "ns")} {
		if err := os.MkdirAll(filepath.Join(proc, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"sys", "self/mountinfo", name + "/ns/net", name + "/comm"} {
		if err := os.Symlink(filepath.Join("/proc", link), filepath.Join(proc, link)); err != nil {
			t.Fatal(err)
		}
	}
	r := &watcher.Known{Root: filepath.Dir(proc), Own: 1}
	defer func() { _ = r.Close() }()
	if err := r.Search(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time, it is open already
		r.Sweep(1)
		if n, here := r.Lookup(inode); !here || n.Entries != 60 || n.Unread {
			t.Errorf("knows %+v, %t, want 60 entries", n, here)
		}
	}
	if table, err := r.Read(inode); err != nil || table.Entries != 60 || table.Counters != (conntrack.Counters{}) {
		t.Errorf("Read = %+v, %v", table, err)
	}
}

// TestKnownCountsHiddenProcesses searches in a thread without rights, to
// which the kernel does not tell the namespaces of others' processes.
func TestKnownCountsHiddenProcesses(t *testing.T) {
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
	r := &watcher.Known{Own: own.Inode()}
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
	if _, here := r.Lookup(inode); here {
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

// TestKnownSeparatesNamespacesUnderChurn sweeps while namespaces are made and
// removed: the kernel gives their numbers to the next ones at once. Whatever is
// found has the entries that belong to its name.
func TestKnownSeparatesNamespacesUnderChurn(t *testing.T) {
	dir := ownMounts(t)
	r := newKnown(t)
	const rounds = 150 // and more where a sweep takes longer than a namespace lives
	gone, made := make(chan struct{}), make(chan error, 1)
	var found atomic.Int64
	go func() {
		defer close(gone)
		for i := 0; i < rounds || found.Load() == 0 && i < 100*rounds; i++ {
			if err := createAndRemove(filepath.Join(dir, strconv.Itoa(i%7+1)), i%7+1); err != nil {
				made <- err
				return
			}
		}
	}()
	for done := false; !done; {
		select {
		case <-gone:
			done = true
		default:
		}
		if err := r.Search(); err != nil {
			t.Fatal(err)
		}
		for _, n := range r.Sweep(1).Full {
			if want, err := strconv.ParseUint(filepath.Base(n.Mount), 10, 64); err == nil && filepath.Dir(n.Mount) == dir {
				if found.Add(1); n.Entries != want {
					t.Errorf("%s has %d entries by the known, want %d", n.Name(), n.Entries, want)
				}
			}
		}
	}
	select {
	case err := <-made:
		t.Fatal(err)
	default:
	}
	if found.Load() == 0 {
		t.Error("none was ever found")
	}
	for _, n := range r.All() {
		if filepath.Dir(n.Mount) == dir {
			t.Errorf("%s is still there", n.Name())
		}
	}
	t.Logf("found %d times one of %d or more", found.Load(), rounds)
}

// createAndRemove makes a namespace with so many entries, mounts it for a moment, and
// lets it go.
func createAndRemove(path string, entries int) error {
	ns, err := netns.New()
	if err != nil {
		return err
	}
	err = cttest.Put(ns, entries, func(i int) conntrack.Entry { return cttest.Like(cttest.Assured(), i) })
	if err = errors.Join(err, os.WriteFile(path, nil, 0o600)); err != nil {
		return errors.Join(err, ns.Close())
	}
	err = unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.File().Fd()), path, "", unix.MS_BIND, "")
	if err = errors.Join(err, ns.Close()); err != nil {
		return err
	}
	time.Sleep(2 * time.Millisecond)                                         // long enough for some to be seen, and not for all
	return errors.Join(unix.Unmount(path, unix.MNT_DETACH), os.Remove(path)) // as ip netns delete does: the known may be in it
}

// BenchmarkKnownSweep sweeps a thousand namespaces, half of them with a
// process and half of them only mounted.
func BenchmarkKnownSweep(b *testing.B) {
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
		r := newKnown(b)
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
		r := newKnown(b)
		for b.Loop() {
			if s := r.Sweep(1); s.Namespaces < 2*half || s.Unread > 0 {
				b.Fatalf("%+v", s)
			}
		}
	})
}
