package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// stall measures the round trips of another flow while programs read the table
// or delete from it.
func (p *plan) stall(ctx context.Context) error {
	fmt.Printf("\nstall      of another tracked flow (UDP there and back over loopback), %d entries\n", p.entries)
	for _, act := range []struct {
		name string
		run  func(context.Context, *netns.NS) (cost, error)
	}{
		{"nothing, for 2 s", func(ctx context.Context, _ *netns.NS) (cost, error) {
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
			return cost{}, ctx.Err()
		}},
		{"ctwarden diagnose --exact", func(ctx context.Context, ns *netns.NS) (cost, error) {
			return measure(ctx, ns, false, p.ctwarden, "diagnose", "--exact")
		}},
		{"conntrack -L", func(ctx context.Context, ns *netns.NS) (cost, error) {
			return measure(ctx, ns, false, "conntrack", "-L")
		}},
		{"ctwarden deletes", runSweep},
		{"conntrack -D", peerDeletes},
	} {
		trips, err := p.during(ctx, act.run)
		if err != nil {
			return err
		}
		slices.Sort(trips)
		at := func(share float64) time.Duration { return trips[min(int(share*float64(len(trips))), len(trips)-1)] }
		fmt.Printf("  during %-28s %7d round trips, median %s, 99.9 %% %s, slowest %s\n",
			act.name, len(trips), at(0.5).Round(time.Microsecond), at(0.999).Round(time.Microsecond), at(1).Round(10*time.Microsecond))
	}
	fmt.Println("  (bound: slowest 20 ms, of ctwarden's)")
	return nil
}

// during fills a table, and measures while run runs.
func (p *plan) during(ctx context.Context, run func(context.Context, *netns.NS) (cost, error)) (trips []time.Duration, err error) {
	table, err := newTable()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	if err := fillIdle(table.NS, p.entries); err != nil {
		return nil, err
	}
	var stop atomic.Bool
	ended := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		var err error
		trips, err = pingPong(table.NS, &stop, ready)
		ended <- err
	}()
	<-ready
	_, err = run(ctx, table.NS)
	stop.Store(true)
	err = errors.Join(err, <-ended)
	if err == nil && len(trips) == 0 {
		err = errors.New("not a single round trip")
	}
	return trips, err
}

// pingPong sends packets to itself on a real-time thread, so that it measures
// delays by the kernel and not those by other programs.
func pingPong(ns *netns.NS, stop *atomic.Bool, ready chan<- struct{}) (trips []time.Duration, err error) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	defer func() {
		if ready != nil {
			close(ready)
		}
	}()
	var fd int
	err = ns.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	self := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 7777}
	timeout := unix.Timeval{Sec: 5}
	err = errors.Join(
		unix.Bind(fd, self), unix.Connect(fd, self), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 10}, 0),
	)
	if err != nil {
		return nil, err
	}
	close(ready)
	ready = nil
	trips = make([]time.Duration, 0, 1<<18)
	buf := make([]byte, 8)
	pause := unix.NsecToTimespec(100_000) // leaves the processor to the measured program
	for !stop.Load() {
		start := time.Now()
		if _, err := unix.Write(fd, buf); err != nil {
			return trips, fmt.Errorf("ping: %w", err)
		}
		if _, err := unix.Read(fd, buf); err != nil {
			return trips, fmt.Errorf("pong: %w", err)
		}
		trips = append(trips, time.Since(start))
		if err := unix.Nanosleep(&pause, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return trips, err
		}
	}
	return trips, nil
}
