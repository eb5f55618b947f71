package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/ctwarden/ctwarden/internal/census"
)

// census compares the costs of diagnose with those of conntrack -L.
func (p *plan) census(ctx context.Context) (err error) {
	table, err := newTable()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	if err := fillMixed(table.NS, p.entries); err != nil {
		return err
	}
	fmt.Printf("\ncensus     of %d entries\n", p.entries)
	exact, peer, sampled := &series{name: "ctwarden diagnose --exact"}, &series{name: "conntrack -L >/dev/null"}, &series{name: "ctwarden diagnose"}
	var worst, margin float64
	for i := range p.pairs {
		var truth census.Summary
		err := alternate(i, func() error {
			c, err := measure(ctx, table.NS, true, p.ctwarden, "diagnose", "--exact", "--json")
			exact.add(c)
			if err == nil {
				truth, _, err = summary(c)
			}
			return err
		}, func() error {
			c, err := measure(ctx, table.NS, false, "conntrack", "-L")
			peer.add(c)
			return err
		})
		if err != nil {
			return err
		}
		c, err := measure(ctx, table.NS, true, p.ctwarden, "diagnose", "--json")
		if err != nil {
			return err
		}
		sampled.add(c)
		sample, claimed, err := summary(c)
		if err != nil {
			return err
		}
		worst, margin = max(worst, largestDifference(truth, sample)), max(margin, claimed)
		if int(truth.Seen) != p.entries {
			return fmt.Errorf("the exact census saw %d entries", truth.Seen)
		}
	}
	exact.print("exact")
	peer.print("")
	sampled.print("sampled")
	ratios(exact, peer, "  (bound 0.70)")
	fmt.Printf("  sampled: shares off by at most %.2f points (bound 1), claimed %.2f 95 times in 100; %.3f s (bound 0.3)\n",
		worst, margin, median(sampled.runs, wall))
	return nil
}

// summary reads what diagnose printed; margin is in points.
func summary(c cost) (s census.Summary, margin float64, err error) {
	var d struct {
		Census census.Summary `json:"census"`
		Look   struct {
			Margin float64 `json:"margin"`
		} `json:"look"`
	}
	if c.failed != "" {
		return s, 0, errors.New(c.failed)
	}
	err = json.Unmarshal(c.stdout, &d)
	return d.Census, d.Look.Margin / 100, err
}

// largestDifference is the largest difference of a share, in points.
func largestDifference(truth, sample census.Summary) float64 {
	share := func(s census.Summary, n uint64) float64 { return 100 * float64(n) / float64(s.Seen) }
	worst := 0.0
	for _, of := range []func(census.Summary) uint64{
		func(s census.Summary) uint64 { return s.Unreplied }, func(s census.Summary) uint64 { return s.Assured },
		func(s census.Summary) uint64 { return s.HalfOpen }, func(s census.Summary) uint64 { return s.Closing },
		func(s census.Summary) uint64 { return s.TimeWait }, func(s census.Summary) uint64 { return s.Established },
		func(s census.Summary) uint64 { return s.Deletable }, func(s census.Summary) uint64 { return s.Ageable },
	} {
		worst = max(worst, math.Abs(share(truth, of(truth))-share(sample, of(sample))))
	}
	return worst
}
