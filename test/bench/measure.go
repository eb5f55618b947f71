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

// A cost is what a program took.
type cost struct {
	wall, cpu time.Duration
	// rss is its peak resident memory in bytes.
	rss    uint64
	stdout []byte
	// failed is what it said when it did not end well.
	failed string
}

// memoryInterval is how often the memory of a child is looked at. The peak that wait4
// tells is no use: it begins with that of the program that started the child
// (exec_mmap in fs/exec.c).
const memoryInterval = 5 * time.Millisecond

// measure runs a program in a namespace. keep says to keep what it prints,
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
