package netns

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Where /proc hides the processes of others (hidepid, or ProtectProc= of a
// unit), a namespace that is not found may be there all the same: nobody may
// take it for gone.
func TestWhatIsHiddenIsNotGone(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount /proc")
	}
	const nowhere, nobody = 0xf0000001, 65534
	found := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread is of no use to anybody else
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
		_, err := findInode(nowhere)
		found <- err
	}()
	if err := <-found; err != nil {
		t.Fatal(err)
	}
	if err := <-found; !errors.Is(err, fs.ErrPermission) {
		t.Errorf("processes are hidden: %v", err)
	}
}
