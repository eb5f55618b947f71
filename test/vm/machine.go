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
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A machine is one qemu run. Its log directory keeps console.log (the kernel) and tests.log (the guest).
type machine struct {
	memory  int
	timeout time.Duration
	log     string
	out     io.Writer
}

// A result is how one job ended. The output of a job that never ended is kept too.
type result struct {
	job    string
	ended  bool
	status int
	output []byte
}

// boot runs the machine and returns what was heard of each job. It is an error when the guest did not come to its end:
// a panic, a timeout, or silence. Jobs that failed are no error here.
func (m machine) boot(ctx context.Context, image, initrd string) ([]result, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	console := filepath.Join(m.log, "console.log")
	log, err := os.Create(filepath.Join(m.log, "tests.log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", "tcg,thread=multi",
		// Without CMPXCHG16B: the one of qemu 7.2 leaves wrong flags, and 6.12 allocates memory with it.
		"-cpu", "max,cx16=off", "-smp", "2", "-m", strconv.Itoa(m.memory),
		"-nodefaults", "-no-reboot", "-display", "none", "-nic", "none",
		"-serial", "file:"+console, "-serial", "stdio",
		"-kernel", image, "-initrd", initrd,
		// oops=panic: no test passes on a broken kernel. panic=-1 reboots at once, which -no-reboot makes an exit.
		"-append", "console=ttyS0 quiet oops=panic panic=-1 -- "+guestArg)
	var stderr bytes.Buffer
	cmd.Stderr, cmd.WaitDelay = &stderr, 5*time.Second
	port, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	results, talk := listen(io.TeeReader(port, log), m.out)
	end := cmd.Wait()
	if err := log.Close(); err != nil {
		return results, err
	}
	kernel, err := os.ReadFile(console)
	if err != nil {
		return results, errors.Join(fmt.Errorf("qemu left no console: %w: %s", err, bytes.TrimSpace(stderr.Bytes())), end)
	}
	switch {
	case ctx.Err() != nil:
		return results, fmt.Errorf("the machine was stopped after %s (%w); console:\n%s", m.timeout, ctx.Err(), tail(kernel))
	case trouble(kernel) != "":
		return results, fmt.Errorf("the kernel said %q; console:\n%s", trouble(kernel), tail(kernel))
	case end != nil:
		return results, fmt.Errorf("qemu: %w: %s", end, bytes.TrimSpace(stderr.Bytes()))
	case talk != nil:
		return results, fmt.Errorf("%w; console:\n%s", talk, tail(kernel))
	}
	return results, nil
}

// listen reads the guest's words until the port closes, passes everything else on to out, and returns an error unless
// the guest said that it was done.
func listen(port io.Reader, out io.Writer) ([]result, error) {
	var (
		results []result
		failure error
		done    bool
		current *result
	)
	lines := bufio.NewReader(port)
	for {
		line, readErr := lines.ReadString('\n')
		word := strings.TrimRight(line, "\r\n")
		switch name, end, isEnd := parseEnd(word); {
		case strings.HasPrefix(word, sayBegin):
			results = append(results, result{job: strings.TrimPrefix(word, sayBegin)})
			current = &results[len(results)-1]
			fmt.Fprintf(out, "vm: %s\n", current.job)
		case isEnd && current != nil && current.job == name:
			current.ended, current.status = true, end
			current = nil
		case strings.HasPrefix(word, sayReady):
			fmt.Fprintf(out, "vm: kernel %s is up\n", strings.TrimPrefix(word, sayReady))
		case strings.HasPrefix(word, sayFail):
			failure = errors.New(strings.TrimPrefix(word, sayFail))
		case word == sayDone:
			done = true
		default:
			if current != nil {
				current.output = append(current.output, line...)
			}
			if !isFrame(word) {
				fmt.Fprint(out, strings.ReplaceAll(line, markTest, ""))
			}
		}
		if readErr != nil {
			break
		}
	}
	if failure == nil && !done {
		failure = errors.New("the guest ended without a verdict")
	}
	return results, failure
}

// markTest is what -test.v=test2json puts before the lines that are testing's own. See `go doc test2json`.
const markTest = "\x16"

// isFrame reports whether a line tells a person nothing: it is empty, or says that a test begins or goes on.
func isFrame(line string) bool {
	return line == "" || strings.HasPrefix(line, markTest+"=== ")
}

func parseEnd(word string) (name string, status int, ok bool) {
	rest, ok := strings.CutPrefix(word, sayEnd)
	if !ok {
		return "", 0, false
	}
	number, name, ok := strings.Cut(rest, " ")
	status, err := strconv.Atoi(number)
	return name, status, ok && err == nil
}

// trouble finds the line in which a kernel says that it is broken. Complaints about lost time (soft lockups, RCU stalls)
// are not among them: an emulated CPU that has to wait for the host earns those honestly.
func trouble(console []byte) string {
	return string(regexp.MustCompile(
		`(?m)(Kernel panic|Oops:|general protection fault|kernel BUG at|BUG: kernel|BUG: unable|BUG: Bad)[^\r\n]*`,
	).Find(console))
}

// tail returns the last lines of a console.
func tail(console []byte) string {
	lines := strings.Split(strings.TrimRight(string(console), "\r\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}
