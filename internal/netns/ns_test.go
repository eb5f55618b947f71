package netns_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// capSysAdmin is the bit of CAP_SYS_ADMIN in the capability sets.
const capSysAdmin = 21

func canMakeNamespaces(t *testing.T) bool {
	t.Helper()
	var data [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	return data[0].Effective&(1<<capSysAdmin) != 0
}

func newNS(t *testing.T) *netns.NS {
	t.Helper()
	if !canMakeNamespaces(t) {
		t.Skip("needs CAP_SYS_ADMIN to make a network namespace")
	}
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	})
	return ns
}

func threadInode(t *testing.T) string {
	t.Helper()
	link, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return link
}

func TestNewIsAnotherNamespaceAndStaysOnItsThread(t *testing.T) {
	ns := newNS(t)
	own, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if ns.Inode() == own.Inode() || ns.Inode() == 0 {
		t.Fatalf("inode %d, own %d", ns.Inode(), own.Inode())
	}
	var inside string
	if err := ns.Do(func() (err error) {
		if tid := unix.Gettid(); tid != ns.TID() || tid == os.Getpid() {
			err = fmt.Errorf("thread %d, want %d, not the first one", tid, ns.TID())
		}
		inside = threadInode(t)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if inside != ns.String() {
		t.Errorf("inside is %s, want %s", inside, ns)
	}
	link, err := os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/net", ns.TID()))
	if err != nil || link != ns.String() {
		t.Errorf("the thread is in %s, %v", link, err)
	}
	if got := threadInode(t); got != own.String() {
		t.Errorf("the caller is in %s, want %s", got, own)
	}
}

func TestNewHasLoopbackUp(t *testing.T) {
	ns := newNS(t)
	var l net.PacketConn
	err := ns.Do(func() (err error) {
		l, err = net.ListenPacket("udp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// The socket belongs to the namespace, whoever uses it.
	if _, err := l.WriteTo([]byte("x"), l.LocalAddr()); err != nil {
		t.Error(err)
	}
}

func TestNewNeverTakesTheFirstThread(t *testing.T) {
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		ns := newNS(t)
		if ns.TID() == os.Getpid() {
			t.Fatal("the first thread was moved")
		}
	}
	after, err := os.Readlink("/proc/self/ns/net")
	if err != nil || after != before {
		t.Errorf("the process is in %s, was in %s, %v", after, before, err)
	}
}

func TestThreadsAreNotReused(t *testing.T) {
	want := threadInode(t)
	var wg sync.WaitGroup
	for range 20 {
		ns := newNS(t)
		if err := ns.Do(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := ns.Close(); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			wg.Go(func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				if got, err := os.Readlink("/proc/thread-self/ns/net"); got != want || err != nil {
					t.Errorf("a goroutine landed in %s, %v", got, err)
				}
			})
		}
	}
	wg.Wait()
}

func TestDoByManyCallers(t *testing.T) {
	ns := newNS(t)
	running, most := 0, 0
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			err := ns.Do(func() error {
				running++
				most = max(most, running)
				running--
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most != 1 {
		t.Errorf("%d functions ran at once, want 1", most)
	}
}

func TestDoWithinDo(t *testing.T) {
	ns := newNS(t)
	want := errors.New("from within")
	if err := ns.Do(func() error { return ns.Do(func() error { return want }) }); err != want {
		t.Errorf("got %v", err)
	}
}

func TestDoRaisesThePanicInTheCaller(t *testing.T) {
	ns := newNS(t)
	func() {
		defer func() {
			p, ok := recover().(*netns.Panic)
			if !ok || !errors.Is(p, fs.ErrInvalid) || !bytes.Contains(p.Stack, []byte("ns_test.go")) {
				t.Errorf("recovered %v", p)
			}
		}()
		_ = ns.Do(func() error { panic(fs.ErrInvalid) })
		t.Error("Do returned")
	}()
	if err := ns.Do(func() error { return nil }); err != nil {
		t.Errorf("after a panic: %v", err)
	}
}

func TestDoEndsTheCallerWithItsFunction(t *testing.T) {
	ns := newNS(t)
	done := make(chan bool)
	go func() {
		returned := false
		defer func() { done <- returned }()
		_ = ns.Do(func() error { runtime.Goexit(); return nil })
		returned = true
	}()
	if <-done {
		t.Error("Do returned")
	}
	if err := ns.Do(func() error { return nil }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want closed: the thread has ended", err)
	}
}

func TestDoAfterCloseIsErrClosed(t *testing.T) {
	fail := func() error { t.Error("ran"); return nil }
	own, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	if err := own.Do(func() error { return fs.ErrExist }); err != fs.ErrExist {
		t.Errorf("own namespace: %v", err)
	}
	all := map[string]*netns.NS{"zero": {}, "own": own}
	if canMakeNamespaces(t) {
		all["fresh"] = newNS(t)
	}
	for name, ns := range all {
		for range 2 {
			if err := ns.Close(); err != nil {
				t.Errorf("%s: close: %v", name, err)
			}
		}
		if err := ns.Do(fail); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: got %v, want closed", name, err)
		}
	}
}

func TestCloseClosesTheFile(t *testing.T) {
	ns := newNS(t)
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ns.File().Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file is open: %v", err)
	}
}

func TestNewWithoutPrivilegeIsErrPermission(t *testing.T) {
	if canMakeNamespaces(t) {
		t.Skip("needs a user without CAP_SYS_ADMIN")
	}
	if _, err := netns.New(); !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v, want permission denied", err)
	}
}

func TestOpen(t *testing.T) {
	fresh := newNS(t)
	path := fmt.Sprintf("/proc/self/task/%d/ns/net", fresh.TID())
	again, err := netns.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := fresh.Close(); err != nil {
		t.Fatal(err)
	}
	var inside string
	if err := again.Do(func() error { inside = threadInode(t); return nil }); err != nil {
		t.Fatal(err)
	}
	if inside != fresh.String() || again.Inode() != fresh.Inode() {
		t.Errorf("opened %s and is in %s, want %s", again, inside, fresh)
	}
}

func TestOpenOwnNeedsNoThread(t *testing.T) {
	ns, err := netns.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if ns.TID() != os.Getpid() || ns.String() != threadInode(t) {
		t.Errorf("thread %d, %s", ns.TID(), ns)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "none"), "/dev/null", "/proc/self/ns/uts"} {
		ns, err := netns.Open(path)
		if err == nil {
			t.Errorf("%s: opened %s", path, ns)
			continue
		}
		if !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the error does not name it: %v", path, err)
		}
	}
}
