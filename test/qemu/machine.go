package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A Machine is one boot of a kernel.
type Machine struct {
	// Kernel and Initrd are files of the host.
	Kernel, Initrd string
	// Disk is a raw image, which the guest has as /dev/vda. Optional.
	Disk string
	// CommandLine is added to the kernel's.
	CommandLine string
	// Memory is in MiB.
	Memory int
	// Timeout is how long the machine may run.
	Timeout time.Duration
	// Console and Guest are the files that keep the first and the second serial port.
	Console, Guest string
}

// Run boots the machine and gives the second serial port to read, which reads it to its end. It is an error when the time
// is over or ctx is done before the machine ends, when the kernel broke, when qemu failed and when read returns an error.
func (m Machine) Run(ctx context.Context, read func(port io.Reader) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	guest, err := os.Create(m.Guest)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, guest.Close()) }()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", m.arguments()...)
	var stderr bytes.Buffer
	cmd.Stderr, cmd.WaitDelay = &stderr, 5*time.Second
	port, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	unfinished := read(io.TeeReader(port, guest))
	exit := cmd.Wait()
	console, err := os.ReadFile(m.Console)
	switch {
	case err != nil:
		return errors.Join(fmt.Errorf("read console: %w: %s", err, bytes.TrimSpace(stderr.Bytes())), exit)
	case ctx.Err() != nil:
		return fmt.Errorf("machine stopped, it may run for %s: %w; console:\n%s", m.Timeout, ctx.Err(), LastLines(console, 30))
	case breakage(console) != "":
		return fmt.Errorf("kernel broke: %q; console:\n%s", breakage(console), LastLines(console, 30))
	case exit != nil:
		return fmt.Errorf("run qemu: %w: %s", exit, bytes.TrimSpace(stderr.Bytes()))
	case unfinished != nil:
		return fmt.Errorf("%w; console:\n%s", unfinished, LastLines(console, 30))
	}
	return nil
}

func (m Machine) arguments() []string {
	args := []string{
		// Not "kvm" first: on a host that is a virtual machine itself, KVM may start and the guest never print a line.
		"-accel", "tcg,thread=multi",
		// Without CMPXCHG16B: the one of qemu 7.2 leaves wrong flags, and 6.12 allocates memory with it.
		"-cpu", "max,cx16=off", "-smp", "2", "-m", strconv.Itoa(m.Memory),
		"-nodefaults", "-no-reboot", "-display", "none", "-nic", "none",
		"-serial", "file:" + m.Console, "-serial", "stdio",
		"-kernel", m.Kernel, "-initrd", m.Initrd,
		// oops=panic: no test passes on a broken kernel. panic=-1 reboots at once, which -no-reboot makes an exit.
		"-append", "console=ttyS0 quiet oops=panic panic=-1 " + m.CommandLine,
	}
	if m.Disk != "" {
		// Nothing has to outlive a crash of this machine, only of the one inside.
		args = append(args, "-drive", "file="+m.Disk+",format=raw,if=virtio,cache=unsafe")
	}
	return args
}

// breakage finds the line in which a kernel reports that it is broken. Soft lockups and RCU stalls are not among them: an
// emulated CPU that waits for the host has them, too.
func breakage(console []byte) string {
	return string(regexp.MustCompile(
		`(?m)(Kernel panic|Oops:|general protection fault|kernel BUG at|BUG: kernel|BUG: unable|BUG: Bad)[^\r\n]*`,
	).Find(console))
}

// LastLines returns the last n lines of a text.
func LastLines(text []byte, n int) string {
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
