package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/test/qemu"
)

// The verbs of the guest's messages, and what follows them.
const (
	verbReady = "ready" // the kernel's release
	verbBegin = "begin" // a job's name
	verbEnd   = "end"   // a job's exit status and name
	verbFail  = "fail"  // why the guest gave up
	verbDone  = "done"  // nothing
)

// send writes a message. It begins a line, even where a program left one without its end.
func send(port io.Writer, verb, rest string) {
	fmt.Fprintf(port, "\n%s%s %s\n", qemu.Mark, verb, rest)
}

// testPort is the second serial port; the first is the kernel's console.
const testPort = "/dev/ttyS1"

// tableMax is the kernel's own default from 4 GiB of memory on.
const tableMax = "65536"

// jobTimeout is longer than -test.timeout, so that a test binary has the time to print where it hangs.
const jobTimeout = 11 * time.Minute

// runGuest is init of the machine: it never returns, as the kernel panics when init does.
func runGuest() {
	port, err := prepareGuest()
	if err != nil {
		// There may be no port yet, so this goes to the console, whose end the host shows.
		fmt.Println("vm: prepare guest:", err)
		powerOff(port)
	}
	if err := runPlan(port); err != nil {
		send(port, verbFail, err.Error())
	} else {
		send(port, verbDone, "")
	}
	powerOff(port)
}

func prepareGuest() (port *os.File, err error) {
	mounts := []struct{ fstype, dir string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"}, {"tmpfs", "/tmp"},
		{"cgroup2", "/sys/fs/cgroup"},
	}
	for _, m := range mounts {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return nil, err
		}
		if err := unix.Mount(m.fstype, m.dir, m.fstype, 0, ""); err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	// Tests that play the kernel in /dev/kmsg write more than the ten lines that a process may by default.
	if err := os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0); err != nil {
		return nil, err
	}
	return openPort()
}

// openPort opens the test port without any translation of what is written to it.
func openPort() (*os.File, error) {
	fd, err := unix.Open(testPort, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", testPort, err)
	}
	raw := unix.Termios{Cflag: unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200}
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("make %s raw: %w", testPort, err)
	}
	return os.NewFile(uintptr(fd), testPort), nil
}

func runPlan(port *os.File) error {
	text, err := os.ReadFile("/" + planPath)
	if err != nil {
		return err
	}
	var p plan
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	for _, m := range p.Modules {
		if err := loadModule(m); err != nil {
			return fmt.Errorf("load %s: %w", m, err)
		}
	}
	if err := sizeTable(); err != nil {
		return err
	}
	if err := raiseLoopback(); err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	send(port, verbReady, strings.TrimSpace(string(release)))
	for _, j := range p.Jobs {
		send(port, verbBegin, j.Name)
		status := runJob(port, j)
		send(port, verbEnd, fmt.Sprintf("%d %s", status, j.Name))
	}
	return nil
}

// runJob runs a program with the port as its output and returns its exit status, -1 when it has none.
func runJob(port *os.File, j job) int {
	ctx, cancel := context.WithTimeout(context.Background(), jobTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, j.Argv[0], j.Argv[1:]...)
	cmd.Dir = j.Dir
	// The port itself and not a pipe: a child that outlives the test must not keep Wait waiting.
	cmd.Stdout, cmd.Stderr = port, port
	cmd.Env = []string{
		"PATH=/bin", "HOME=/", "TMPDIR=/tmp", "LANG=C.UTF-8", "CTWARDEN_TEST_HOST=1", "CTWARDEN_TEST_VM=1",
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintf(port, "vm: run %s: %v\n", j.Name, err)
		return -1
	}
	if ctx.Err() != nil {
		fmt.Fprintf(port, "vm: run %s: not over after %s\n", j.Name, jobTimeout)
	}
	return cmd.ProcessState.ExitCode()
}

func loadModule(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}

// sizeTable gives every kernel the same table, that of a server and not that of a machine with so little memory: 5.10
// would take a max of 32768 and 6.1 of 8192 entries. The hash comes first because writing it may change max.
func sizeTable() error {
	for _, name := range []string{"nf_conntrack_buckets", "nf_conntrack_max"} {
		if err := os.WriteFile("/proc/sys/net/netfilter/"+name, []byte(tableMax), 0); err != nil {
			return fmt.Errorf("size the table: %w", err)
		}
	}
	return nil
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// powerOff waits until the port has sent everything, then ends the machine.
func powerOff(port *os.File) {
	if port != nil {
		// TCSBRK with 1 is tcdrain. If it fails the last lines may be lost, which the host notices.
		_ = unix.IoctlSetInt(int(port.Fd()), unix.TCSBRK, 1)
	}
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Println("vm: power off:", err)
	select {}
}
