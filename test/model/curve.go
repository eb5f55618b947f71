package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/tablesim"
)

// A curve is the number of entries of a table over time.
type curve struct {
	points       []point
	max, buckets uint64
}

// A point is how many entries a table had, how many connections had been made,
// and about how many entries other namespaces had.
type point struct {
	at                    time.Duration
	entries, made, others uint64
}

// removed is how many entries have left the table.
func (p point) removed() int64 { return int64(p.made) - int64(p.entries) }

// minPass is how many entries a pass of the gc takes between two samples, at
// least. Lookups that come by expired entries free fewer.
const minPass = 150

// pass returns the time of the gc's first pass after a time.
func (c curve) pass(after time.Duration) (time.Duration, bool) {
	for n := 1; n < len(c.points); n++ {
		before, now := c.points[n-1], c.points[n]
		if before.at >= after && now.removed()-before.removed() >= minPass {
			return (before.at + now.at) / 2, true
		}
	}
	return 0, false
}

func (c curve) peak() uint64 {
	most := uint64(1)
	for _, p := range c.points {
		most = max(most, p.entries)
	}
	return most
}

// runModel plays the scenario on a model, without a policy, and samples it at the
// times of the real samples.
func runModel(s *tablesim.Scenario, real curve) curve {
	h := tablesim.NewHost(s)
	loads := s.Loads
	var now time.Duration
	until := func(at time.Duration) {
		for left := at - now; left > 0; {
			left = h.Advance(left)
		}
		now = at
	}
	c := curve{points: make([]point, len(real.points))}
	for n := range real.points {
		at := real.points[n].at
		for len(loads) > 0 && loads[0].At <= at {
			until(loads[0].At)
			h.Begin(&loads[0])
			loads = loads[1:]
		}
		until(at)
		c.points[n] = point{at: at, entries: h.Observe().Table.Entries}
	}
	return c
}

// A comparison is the two curves, sampled at the same times.
type comparison struct{ real, model curve }

// deviation is by how much the model is off until a moment, on average and at
// most, as a share of the kernel's peak.
func (c comparison) deviation(until time.Duration) (mean, most float64) {
	peak := float64(c.real.peak())
	seen := 0
	for n := range c.real.points {
		if c.real.points[n].at > until {
			break
		}
		off := math.Abs(float64(c.model.points[n].entries)-float64(c.real.points[n].entries)) / peak
		mean += off
		most = max(most, off)
		seen++
	}
	return mean / float64(max(seen, 1)), most
}

// write prints both curves, a line for each second, and how they differ.
func (c comparison) write(w io.Writer) error {
	const width = 50
	peak := max(c.real.peak(), c.model.peak())
	place := func(n uint64) int { return int(n * (width - 1) / peak) }
	var b strings.Builder
	fmt.Fprintf(&b, "%8s %9s %9s   k: kernel, m: model, *: both; to %d entries\n", "", "kernel", "model", peak)
	for n := 0; n < len(c.real.points); n += int(time.Second / sampleEvery) {
		k, m := c.real.points[n], c.model.points[n]
		row := []byte(strings.Repeat(" ", width))
		row[place(k.entries)], row[place(m.entries)] = 'k', 'm'
		if place(k.entries) == place(m.entries) {
			row[place(k.entries)] = '*'
		}
		fmt.Fprintf(&b, "%7.1fs %9d %9d  |%s\n", k.at.Seconds(), k.entries, m.entries, strings.TrimRight(string(row), " "))
	}
	mean, most := c.deviation(math.MaxInt64)
	fmt.Fprintf(&b, "\n%d connections, %d samples; the model is off by %.1f%% of the peak on average, %.1f%% at most\n",
		c.real.points[len(c.real.points)-1].made, len(c.real.points), 100*mean, 100*most)
	_, err := io.WriteString(w, b.String())
	return err
}
