package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ctwarden/ctwarden/internal/sandbox"
	"github.com/ctwarden/ctwarden/internal/tablesim"
)

// The load: unreplied UDP throughout, and short TCP connections for a part of it.
// A slow machine can keep the rates, and a minute shows the timeouts.
const (
	udpRate, udpTimeout  = 400, 8
	tcpRate, tcpTimeWait = 50, 6
	tcpBegins, tcpLasts  = 5 * time.Second, 30 * time.Second
	loadLasts            = 55 * time.Second
	sampleEvery          = 250 * time.Millisecond
)

// A load is the traffic for the kernel and for the model.
type load struct {
	release  tablesim.Release
	duration time.Duration
}

// newLoad chooses a duration that includes a pass of the kernel's gc: every 2
// minutes before Linux 5.15, at least once a minute since.
func newLoad(r tablesim.Release) load {
	if r.Major > 5 || r.Major == 5 && r.Minor >= 15 {
		return load{r, 75 * time.Second}
	}
	return load{r, 150 * time.Second}
}

func (l load) String() string {
	return fmt.Sprintf("udp_unreplied %d/s (udp_timeout %d s) and, from %s for %s, tcp_short %d/s (tcp_timeout_time_wait %d s)",
		udpRate, udpTimeout, tcpBegins, tcpLasts, tcpRate, tcpTimeWait)
}

// scenario is the load as the model reads it.
func (l load) scenario(real curve, gc time.Duration) (*tablesim.Scenario, error) {
	return tablesim.Parse("model", fmt.Sprintf(`
memory 8GiB
kernel %s
max %d
buckets %d
timeout nf_conntrack_udp_timeout %d
timeout nf_conntrack_tcp_timeout_time_wait %d
gc %s
run %s
at 0s for %s: udp_unreplied %d/s
at %s for %s: tcp_short %d/s lasting 1ms
`, l.release, real.max, real.buckets, udpTimeout, tcpTimeWait, gc, l.duration, loadLasts, udpRate, tcpBegins, tcpLasts, tcpRate))
}

// run plays the load with real packets and returns what the kernel counted.
func (l load) run(ctx context.Context) (c curve, err error) {
	box, err := sandbox.New()
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	if err := setTimeouts(box); err != nil {
		return c, err
	}
	flood, err := sandbox.NewFlood(box.NS)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, flood.Close()) }()
	shorts, err := sandbox.NewShortConns(box)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, shorts.Close()) }()
	return l.sample(ctx, box, flood, shorts)
}

// sample lets the traffic run and counts meanwhile.
func (l load) sample(ctx context.Context, box *sandbox.Sandbox, flood *sandbox.Flood, shorts *sandbox.ShortConns) (c curve, err error) {
	if c.max, err = value(box, "max"); err != nil {
		return c, err
	}
	if c.buckets, err = value(box, "buckets"); err != nil {
		return c, err
	}
	ctx, stop := context.WithTimeout(ctx, l.duration)
	defer stop()
	var traffic sync.WaitGroup
	defer traffic.Wait()
	var flooded error
	start := time.Now()
	traffic.Go(func() { flooded = flood.Run(ctx, udpRate, uint64(udpRate*loadLasts.Seconds())) })
	traffic.Go(func() { runShorts(ctx, shorts) })
	ticks := time.NewTicker(sampleEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			traffic.Wait()
			if errors.Is(ctx.Err(), context.Canceled) {
				return c, ctx.Err()
			}
			return c, flooded
		case <-ticks.C:
		}
		entries, err := value(box, "count")
		if err != nil {
			return c, err
		}
		p := point{at: time.Since(start), entries: entries, made: flood.Sent.Load() + shorts.Made.Load()}
		if all, ok := allEntries(); ok && all > entries {
			p.others = all - entries
		}
		c.points = append(c.points, p)
	}
}

// runShorts makes the short connections, at their time.
func runShorts(ctx context.Context, shorts *sandbox.ShortConns) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(tcpBegins):
	}
	ctx, stop := context.WithTimeout(ctx, tcpLasts)
	defer stop()
	shorts.Run(ctx, tcpRate)
}

const sysctls = "/proc/sys/net/netfilter/nf_conntrack_"

// setTimeouts shortens the timeouts of the sandbox.
func setTimeouts(box *sandbox.Sandbox) error {
	return box.NS.Do(func() error {
		return errors.Join(
			os.WriteFile(sysctls+"udp_timeout", strconv.AppendInt(nil, udpTimeout, 10), 0),
			os.WriteFile(sysctls+"tcp_timeout_time_wait", strconv.AppendInt(nil, tcpTimeWait, 10), 0))
	})
}

// value reads a sysctl of the sandbox.
func value(box *sandbox.Sandbox, name string) (n uint64, err error) {
	err = box.NS.Do(func() error {
		text, err := os.ReadFile(sysctls + name)
		if err != nil {
			return err
		}
		n, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		return err
	})
	return n, err
}
