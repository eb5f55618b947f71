package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// sweepCommand is the argument with which this program runs sweep as a child,
// whose memory is then measured.
const sweepCommand = "sweep"

// A plan are the options of the command line.
type plan struct {
	entries, large, pairs int
	log                   int64 // MiB
	ctwarden              string
	hostWide              bool
	only                  string
	// others is the number of namespaces beside that of the idle daemon, and
	// idleFor the time for which it is measured.
	others  int
	idleFor time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 2 && os.Args[1] == sweepCommand {
		exit(sweep(ctx))
		return
	}
	var p plan
	flag.IntVar(&p.entries, "entries", 1_000_000, "entries in the table")
	flag.IntVar(&p.large, "large", 4_000_000, "entries in the table for the memory of a large one; 0 leaves it out")
	flag.Int64Var(&p.log, "log", 1024, "MiB of the audit log to read")
	flag.IntVar(&p.pairs, "pairs", 5, "pairs of runs")
	flag.StringVar(&p.ctwarden, "ctwarden", "bin/ctwarden", "the program to measure")
	flag.BoolVar(&p.hostWide, "host-wide", os.Getenv("CTWARDEN_TEST_HOST") == "1",
		"raise nf_conntrack_max, which is one number for the whole host, while it runs (or CTWARDEN_TEST_HOST=1)")
	flag.IntVar(&p.others, "netns", 0, "other network namespaces beside the idle daemon, which then watches them")
	flag.DurationVar(&p.idleFor, "idle-for", 30*time.Second, "how long the idle daemon is watched")
	flag.StringVar(&p.only, "only", "census,delete,stall,large,idle,review,go", "which parts")
	flag.Parse()
	exit(p.run(ctx))
}

// exit prints an error and exits; it does nothing for a nil error.
func exit(err error) {
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "bench: error:", err)
	os.Exit(1)
}

func (p *plan) wants(part string) bool {
	for word := range strings.SplitSeq(p.only, ",") {
		if word == part {
			return true
		}
	}
	return false
}

func (p *plan) run(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("it fills the table of a network namespace and needs root: sudo make bench")
	}
	for _, program := range []string{p.ctwarden, "conntrack"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: make build, apt-get install conntrack", err)
		}
	}
	host, err := readHost()
	if err != nil {
		return err
	}
	restore, err := p.raiseMax(host)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	host.print()
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"census", p.census}, {"delete", p.deletion}, {"stall", p.stall}, {"large", p.memory},
		{"idle", p.idle}, {"review", p.review}, {"go", p.benchmarks},
	} {
		if !p.wants(part.name) {
			continue
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}
