package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// mark begins what the guest says to this program; see guest.sh.
const mark = "\x05"

// A machine is one that boots from a disk. Its log directory keeps what the kernel and the guest said.
type machine struct {
	image, kernel, initrd, log string
	memory                     int
	timeout                    time.Duration
	out                        io.Writer
}

// A verdict is one check of the guest.
type verdict struct {
	name string
	ok   bool
}

// A story is what a guest told: its checks, its notes, and its last word.
type story struct {
	ready    string
	verdicts []verdict
	notes    []string
	end      string
}

// run boots the machine until its guest is done: once more for each reboot that it asks for.
func (m machine) run(ctx context.Context) (story, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	var all story
	const boots = 2
	for boot := 1; boot <= boots; boot++ {
		told, err := m.boot(ctx, boot)
		all.verdicts = append(all.verdicts, told.verdicts...)
		all.notes = append(all.notes, told.notes...)
		all.ready = told.ready
		if err != nil {
			return all, err
		}
		if told.end == "done" {
			return all, nil
		}
	}
	return all, fmt.Errorf("the guest rebooted more than %d times", boots-1)
}

func (m machine) boot(ctx context.Context, boot int) (told story, err error) {
	console := filepath.Join(m.log, fmt.Sprintf("console-%d.log", boot))
	log, err := os.Create(filepath.Join(m.log, fmt.Sprintf("guest-%d.log", boot)))
	if err != nil {
		return told, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", "tcg,thread=multi",
		// Without CMPXCHG16B: the one of qemu 7.2 leaves wrong flags, and 6.12 allocates memory with it.
		"-cpu", "max,cx16=off", "-smp", "2", "-m", strconv.Itoa(m.memory),
		"-nodefaults", "-no-reboot", "-display", "none", "-nic", "none",
		"-serial", "file:"+console, "-serial", "stdio",
		// Nothing has to outlive a crash of this machine, only of the one inside.
		"-drive", "file="+m.image+",format=raw,if=virtio,cache=unsafe",
		"-kernel", m.kernel, "-initrd", m.initrd,
		"-append", "root=/dev/vda rw console=ttyS0 quiet oops=panic panic=-1")
	var stderr bytes.Buffer
	cmd.Stderr, cmd.WaitDelay = &stderr, 5*time.Second
	port, err := cmd.StdoutPipe()
	if err != nil {
		return told, err
	}
	if err := cmd.Start(); err != nil {
		return told, err
	}
	told = listen(io.TeeReader(port, log), m.out)
	end := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return told, fmt.Errorf("the machine was stopped after %s: %w", m.timeout, ctx.Err())
	case end != nil:
		return told, fmt.Errorf("qemu: %w: %s", end, bytes.TrimSpace(stderr.Bytes()))
	case told.end == "":
		text, _ := os.ReadFile(console) // what is missing is told by the empty text
		return told, fmt.Errorf("the machine ended in the middle; console:\n%s", lastLines(text, 30))
	}
	return told, nil
}

// listen reads the guest's words until the port closes and passes them on for people.
func listen(port io.Reader, out io.Writer) story {
	var told story
	lines := bufio.NewReader(port)
	for {
		line, err := lines.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		word, isWord := strings.CutPrefix(line, mark)
		verb, rest, _ := strings.Cut(word, " ")
		switch {
		case !isWord:
		case verb == "ok", verb == "FAIL":
			name, _, _ := strings.Cut(rest, " (")
			told.verdicts = append(told.verdicts, verdict{name, verb == "ok"})
		case verb == "note":
			told.notes = append(told.notes, rest)
		case verb == "ready":
			told.ready = rest
		case verb == "reboot", verb == "done":
			told.end = verb
		}
		if line != "" {
			fmt.Fprintln(out, "  "+strings.TrimPrefix(line, mark))
		}
		if err != nil {
			return told
		}
	}
}
