package watcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// onThrowawayThread runs fn on a thread that ends with it. It is not the first
// one, which never ends and which /proc/self stands for.
func onThrowawayThread(fn func()) {
	runtime.LockOSThread()
	if unix.Gettid() != os.Getpid() {
		fn()
		return
	}
	done := make(chan struct{})
	go func() { defer close(done); onThrowawayThread(fn) }()
	<-done
	runtime.UnlockOSThread()
}

// Where /proc hides the processes of others (hidepid, or ProtectProc= of a
// unit), a namespace that is not found may be there all the same: nobody may
// take it for gone.
func TestFindReportsHiddenProcessesAsPermissionDenied(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount /proc")
	}
	const nowhere, nobody = uint32(0xf0000001), 65534
	found := make(chan error)
	go onThrowawayThread(func() {
		found <- errors.Join(unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_FS),
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("proc", "/proc", "proc", 0, "hidepid=2"))
		// Of this thread alone, and the groups too: /proc shows all to group 0.
		_, _, groups := syscall.RawSyscall(syscall.SYS_SETGROUPS, 0, 0, 0)
		_, _, gid := syscall.RawSyscall(syscall.SYS_SETRESGID, nobody, nobody, nobody)
		_, _, uid := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, nobody, nobody)
		if groups|gid|uid != 0 {
			found <- errors.New("can't become nobody")
			return
		}
		_, err := Find(fmt.Sprintf("net:[%d]", nowhere))
		found <- err
	})
	if err := <-found; err != nil {
		t.Fatal(err)
	}
	if err := <-found; !errors.Is(err, fs.ErrPermission) {
		t.Errorf("processes are hidden: %v", err)
	}
}

func TestFindByRuntimeName(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	ns := Namespace{Inode: 4026532001, Container: id, RuntimeName: "shop/web", Pod: "8d5b0a6c-0000-0000-0000-000000000000", Unit: "shop.service", Comm: "nginx"}
	for name, want := range map[string]bool{
		"shop/web": true, id: true, id[:12]: true, id[:5]: false, ns.Pod: true, "shop": true, "shop.service": true,
		"nginx": false, "": false, "sho": false, "4026532001": true, "net:[4026532001]": true, "402653200": false,
	} {
		if ns.hasName(name) != want {
			t.Errorf("is called %q: %t, want %t", name, !want, want)
		}
	}
	ns.Guessed = true
	if ns.hasName("4026532001") {
		t.Error("a guessed number matched")
	}
}
