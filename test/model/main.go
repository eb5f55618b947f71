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

// maxDeviation is how far the model may be off, on average, as a share of the peak. The
// load comes in ticks, the gc in steps, and other namespaces of the machine have
// a part in the gc's rhythm.
const maxDeviation = 0.10

// passDuration is how long a pass of the gc may take on a busy machine.
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
	// Where in its rhythm the gc was when the load began is not the model's
	// to know. All later passes are.
	first, ok := real.pass(0)
	if !ok {
		return fmt.Errorf("the gc did not come by within %s", l.duration)
	}
	scenario, err := l.scenario(real, first)
	if err != nil {
		return err
	}
	c := comparison{real: real, model: runModel(scenario, real)}
	fmt.Printf("the model is told that the gc came by first after %s\n\n", first.Round(10*time.Millisecond))
	if err := c.write(os.Stdout); err != nil {
		return err
	}
	others, disturbed := real.othersPeak()
	if disturbed {
		fmt.Printf("other namespaces held up to %d entries, by which the gc went as well: a quiet machine tells more\n", others)
	}
	// How the gc goes on is the kernel's mean over all namespaces, and what is
	// off by a second then is off for good: it is printed. What is held against
	// the model is all that leads to the gc's second pass.
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
