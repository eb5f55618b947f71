package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/tablesim"
)

// maxDeviation is the permitted mean deviation of the model, as a share of the
// peak. The load comes in ticks, the gc in steps, and other namespaces of the
// machine change the gc's interval.
const maxDeviation = 0.10

// passDuration is the longest pass of the gc on a busy machine.
const passDuration = 1500 * time.Millisecond

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "model: error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	release, err := kernel()
	if err != nil {
		return err
	}
	l := newLoad(release)
	fmt.Printf("kernel %s: %s for %s, then silence until %s\n", release, l, loadLasts, l.duration)
	real, err := l.run(ctx)
	if err != nil {
		return err
	}
	// The model can't predict the gc's first pass after the load began, but
	// all later ones.
	first, ok := real.pass(0)
	if !ok {
		return fmt.Errorf("no pass of the gc within %s", l.duration)
	}
	scenario, err := l.scenario(real, first)
	if err != nil {
		return err
	}
	c := comparison{real: real, model: runModel(scenario, real)}
	fmt.Printf("the model gets the time of the gc's first pass: %s\n\n", first.Round(10*time.Millisecond))
	if err := c.write(os.Stdout); err != nil {
		return err
	}
	others, disturbed := real.othersPeak()
	if disturbed {
		fmt.Printf("other namespaces held up to %d entries, which change the gc's interval: measure on a quiet machine\n", others)
	}
	// The gc's interval is a mean over all namespaces, and an error of a second
	// in it lasts: the whole deviation is printed, but only that until the gc's
	// second pass is compared with maxDeviation.
	second, ok := real.pass(first + passDuration)
	if !ok {
		second = l.duration
	}
	mean, _ := c.deviation(second)
	fmt.Printf("until the second pass of the gc, after %s: off by %.1f%% on average\n", second.Round(time.Second), 100*mean)
	if mean > maxDeviation {
		return fmt.Errorf("the model is off by more than %.0f%%", 100*maxDeviation)
	}
	return nil
}

// kernel is the release of the running one.
func kernel() (tablesim.Release, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return tablesim.Release{}, fmt.Errorf("uname: %w", err)
	}
	text := unix.ByteSliceToString(u.Release[:])
	parts := strings.SplitN(text, ".", 3)
	if len(parts) < 2 {
		return tablesim.Release{}, errors.New("unknown kernel release " + text)
	}
	minor, _, _ := strings.Cut(parts[1], "-")
	var r tablesim.Release
	err := r.UnmarshalText([]byte(parts[0] + "." + minor))
	return r, err
}
