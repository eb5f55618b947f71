package netns

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// An NS is a network namespace. It holds the namespace open until Close, so
// neither the namespace nor its inode number can go away or be used again
// meanwhile. Make one with New, Open, OpenFile or Current; the zero NS is
// closed. An NS may be used by several goroutines at once.
type NS struct {
	file  *os.File
	inode uint32
	// thread is nil for the namespace of the process itself, in which every
	// thread of the Go runtime already is.
	thread *thread
	closed atomic.Bool
}

// New makes a fresh network namespace with its loopback interface up. The
// kernel removes it when the NS is closed and nothing else holds it. It needs
// CAP_SYS_ADMIN; without it the error is os.ErrPermission.
func New() (*NS, error) {
	t, err := startThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare network namespace: %w", err)
		}
		return raiseLoopback()
	})
	if err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", t.tid))
	if err == nil {
		var ns *NS
		if ns, err = newNS(f, t); err == nil {
			return ns, nil
		}
	}
	t.stop()
	return nil, fmt.Errorf("make network namespace: %w", err)
}

// Current returns the namespace of the process itself: that of its first
// thread. It needs no privilege.
func Current() (*NS, error) {
	f, err := os.Open("/proc/self/ns/net")
	if err == nil {
		var ns *NS
		if ns, err = newNS(f, nil); err == nil {
			return ns, nil
		}
	}
	return nil, fmt.Errorf("open own network namespace: %w", err)
}

// Open opens the namespace that path names, such as /run/netns/NAME or
// /proc/PID/ns/net. A namespace other than the process' own needs
// CAP_SYS_ADMIN, and to open that of another process CAP_SYS_PTRACE.
func Open(path string) (*NS, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	return OpenFile(f)
}

// OpenFile is Open for a file that is already open. It owns f from now on and
// closes it when it fails.
func OpenFile(f *os.File) (*NS, error) {
	t, err := enter(f)
	if err == nil {
		var ns *NS
		if ns, err = newNS(f, t); err == nil {
			return ns, nil
		}
		if t != nil {
			t.stop()
		}
	}
	_ = f.Close() // hold may have closed it
	return nil, fmt.Errorf("open network namespace %s: %w", f.Name(), err)
}

// enter starts a thread in the namespace of f, or none if that is the
// namespace of the process.
func enter(f *os.File) (*thread, error) {
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil {
		return nil, os.NewSyscallError("ioctl NS_GET_NSTYPE", err)
	}
	if kind != unix.CLONE_NEWNET {
		return nil, fmt.Errorf("another kind of namespace: %w", unix.EINVAL)
	}
	own, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	asked, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if os.SameFile(own, asked) {
		return nil, nil
	}
	return startThread(func() error {
		return os.NewSyscallError("setns", unix.Setns(int(f.Fd()), unix.CLONE_NEWNET))
	})
}

// newNS makes the NS of an open namespace and of the thread in it, which is nil
// for the process' own. It closes f when it fails.
func newNS(f *os.File, t *thread) (*NS, error) {
	stat, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// The number is an unsigned int in the kernel (struct ns_common).
	inode := uint32(stat.Sys().(*syscall.Stat_t).Ino)
	return &NS{file: f, inode: inode, thread: t}, nil
}

// Do calls fn in the namespace and returns its error: sockets that fn opens
// belong to the namespace for their whole life, and /proc/sys/net is that of
// the namespace. But /proc/net is that of the process; fn reads
// /proc/thread-self/net instead, and other threads /proc/self/task/TID/net.
//
// Calls are made one after the other; fn may call Do of the same NS again. A
// panic of fn is raised in the caller, as is runtime.Goexit, which closes the
// namespace to further calls. After Close the error is os.ErrClosed.
func (ns *NS) Do(fn func() error) error {
	if ns.file == nil || ns.closed.Load() {
		return os.ErrClosed
	}
	if ns.thread == nil {
		return fn()
	}
	return ns.thread.do(fn)
}

// Inode is the inode number of the namespace, the number that the kernel
// prints in "table full in netns N". It is never 0 and, while the NS is open,
// that of no other namespace.
func (ns *NS) Inode() uint32 { return ns.inode }

// TID is the id of a thread that stays in the namespace until Close, so
// /proc/self/task/TID/net can be read from any thread. For the process' own
// namespace it is that of the first thread.
func (ns *NS) TID() int {
	if ns.thread == nil {
		return os.Getpid()
	}
	return ns.thread.tid
}

// File is the namespace's open file. It belongs to ns: closing it, or using
// its number after ns was closed, can reach another namespace that was given
// the same number since.
func (ns *NS) File() *os.File { return ns.file }

// String is the form of the kernel's links, as in "net:[4026531840]".
func (ns *NS) String() string {
	return "net:[" + strconv.FormatUint(uint64(ns.inode), 10) + "]"
}

// Close waits for a running Do, ends the thread and closes the namespace's file.
// Closing twice is harmless. A function that Do runs must not call it.
func (ns *NS) Close() error {
	if ns.file == nil || ns.closed.Swap(true) {
		return nil
	}
	if ns.thread != nil {
		ns.thread.stop()
	}
	return ns.file.Close()
}

// raiseLoopback sets the loopback interface of the calling thread's
// namespace up. A fresh namespace has it down, and conntrack sees no packet
// of a flow to 127.0.0.1.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}
