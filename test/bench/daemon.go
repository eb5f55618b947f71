package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// memory measures the peak memory of diagnose and of a deletion with a large table.
func (p *plan) memory(ctx context.Context) (err error) {
	if p.large <= p.entries {
		return nil
	}
	// The kernel refuses entries in chains of 50 and more (MIN_CHAINLEN in
	// net/netfilter/nf_conntrack_core.c), so a large table needs more buckets.
	// Without -host-wide, large is 0.
	if buckets, err := readNumber(bucketFile); err == nil && buckets < p.large/4 && p.hostWide {
		restore, setErr := set(bucketFile, p.large/4)
		if setErr != nil {
			return setErr
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	table, err := newTable()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	if err := fillIdle(table.NS, p.large); err != nil {
		return err
	}
	fmt.Printf("\nmemory     with %d entries (bound 32 MiB)\n", p.large)
	exact, err := measure(ctx, table.NS, false, p.ctwarden, "diagnose", "--exact")
	if err != nil {
		return err
	}
	(&series{"ctwarden diagnose --exact", []cost{exact}}).print("")
	deleted, err := runSweep(ctx, table.NS)
	if err != nil {
		return err
	}
	(&series{"ctwarden deletes", []cost{deleted}}).print("")
	return nil
}

// startupTime is the time in which the daemon starts: it reads the whole kernel
// log and every namespace.
const startupTime = 10 * time.Second

// idle runs the daemon in observe mode, in a directory of its own, and measures
// its CPU time and memory in calm, beside p.others other namespaces.
func (p *plan) idle(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "ctwarden-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	others, err := newOthers(filepath.Join(dir, "netns"), p.others)
	defer func() { err = errors.Join(err, others.close()) }()
	if err != nil {
		return err
	}
	table, err := newTable()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	cmd := exec.CommandContext(ctx, p.ctwarden, "run", "--mode", "observe")
	cmd.Env = append(os.Environ(), "CTWARDEN_STATE_DIR="+filepath.Join(dir, "state"),
		"CTWARDEN_AUDIT_PATH="+filepath.Join(dir, "log", "audit.jsonl"),
		"CTWARDEN_CONTROL_SOCKET="+filepath.Join(dir, "run", "control.sock"),
		"CTWARDEN_WATCH_NETNS="+p.watchScope())
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := table.NS.Do(cmd.Start); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended by itself
		_ = cmd.Wait()
	}()
	if err := wait(ctx, startupTime); err != nil {
		return err
	}
	used, err := p.cpuTime(ctx, cmd.Process.Pid)
	if err != nil {
		return fmt.Errorf("the daemon did not stay: %w", err)
	}
	status := fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)
	fmt.Printf("\nidle       daemon for %s beside %d namespaces: resident %.1f MiB, at most %.1f (bound 24); %.2f s of CPU, %.3f %% of a core (bound 0.1)\n",
		p.idleFor, p.others, float64(sizeIn(status, "VmRSS"))/(1<<20), float64(sizeIn(status, "VmHWM"))/(1<<20),
		used.Seconds(), 100*used.Seconds()/p.idleFor.Seconds())
	if p.others > 0 {
		return p.printNamespaces(ctx, filepath.Join(dir, "run", "control.sock"))
	}
	return nil
}

// watchScope is the value of watch.netns.
func (p *plan) watchScope() string {
	if p.others > 0 {
		return "all"
	}
	return "host"
}

// cpuTime measures the processor time of a process during p.idleFor.
func (p *plan) cpuTime(ctx context.Context, pid int) (time.Duration, error) {
	before, err := ticksOf(pid)
	if err != nil {
		return 0, err
	}
	if err := wait(ctx, p.idleFor); err != nil {
		return 0, err
	}
	after, err := ticksOf(pid)
	const tick = time.Second / 100 // USER_HZ, the same on every Linux that Go runs on
	return time.Duration(after-before) * tick, err
}

// printNamespaces prints the daemon's status of the namespaces, which shows that
// it reads them.
func (p *plan) printNamespaces(ctx context.Context, socket string) error {
	cmd := exec.CommandContext(ctx, p.ctwarden, "status")
	cmd.Env = append(os.Environ(), "CTWARDEN_CONTROL_SOCKET="+socket)
	text, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("query the daemon: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "netns") {
			fmt.Print("           ", line)
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// ticksOf is the processor time of a process: utime and stime, the fields 14
// and 15 of /proc/PID/stat.
func ticksOf(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat of process %d has %d fields", pid, len(fields))
	}
	user, err := strconv.ParseUint(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseUint(fields[12], 10, 64)
	return user + system, err
}

// benchmarks runs the benchmarks of go test that have a bound.
func (p *plan) benchmarks(ctx context.Context) error {
	fmt.Println("\nbenchmarks of go test (bounds: a decision 1 µs and 0 allocations)")
	for _, b := range [][2]string{
		{"BenchmarkDecision", "./policy"}, {"BenchmarkAppend$|BenchmarkAppendNoSync", "./internal/audit"}, {"BenchmarkAdd", "./internal/census"},
	} {
		out, err := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench="+b[0], "-benchmem", b[1]).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", b[1], err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "Benchmark") {
				fmt.Print("  ", line)
			}
		}
	}
	return nil
}
