package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// A cost is the time and memory of one run of a program.
type cost struct {
	wall, cpu time.Duration
	// rss is its peak resident memory in bytes.
	rss    uint64
	stdout []byte
	// failed is its stderr if its exit status was not 0.
	failed string
}

// memoryInterval is the interval between two readings of a child's memory. The
// peak of wait4 can't be used: it includes that of the program that started the
// child (exec_mmap in fs/exec.c).
const memoryInterval = 5 * time.Millisecond

// measure runs a program in a namespace. If keep is set it keeps its stdout,
// which otherwise goes to /dev/null.
func measure(ctx context.Context, ns *netns.NS, keep bool, argv ...string) (c cost, err error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, errs bytes.Buffer
	cmd.Stderr = &errs
	if keep {
		cmd.Stdout = &out
	}
	start := time.Now()
	if err := ns.Do(cmd.Start); err != nil {
		return c, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	status := fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)
	ticks := time.NewTicker(memoryInterval)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			c.rss = max(c.rss, sizeIn(status, "VmHWM"))
			continue
		case err = <-ended:
		}
		break
	}
	c.wall = time.Since(start)
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	c.stdout = out.Bytes()
	if _, failed := errors.AsType[*exec.ExitError](err); failed {
		c.failed = strings.TrimSpace(errs.String())
		err = nil
	}
	return c, errors.Join(err, ctx.Err())
}
