package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// review measures how long it takes to read a log of many incidents: one of
// drills, which has mostly decisions, and one of hours, which has mostly samples.
func (p *plan) review(ctx context.Context) (err error) {
	own, err := netns.Current()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	for _, shape := range []struct {
		name   string
		flight int
	}{
		{"drills, one after the other", 0},
		{"incidents of an hour", 360},
	} {
		if err := p.reviewOf(ctx, own, shape.name, shape.flight); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) reviewOf(ctx context.Context, own *netns.NS, name string, flight int) (err error) {
	dir, err := os.MkdirTemp("", "ctwarden-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "audit.jsonl")
	made, err := writeLong(path, p.log<<20, flight)
	if err != nil {
		return fmt.Errorf("write a long log: %w", err)
	}
	fmt.Printf("\nreview     %d MiB of %s: %d records, %d incidents (bounds for 1 GiB: list and report 5 s, 64 MiB)\n",
		p.log, name, made.records, len(made.incidents))
	for _, run := range []struct {
		name string
		args []string
	}{
		{"incident list", []string{"incident", "list"}},
		{"incident list -n 0", []string{"incident", "list", "-n", "0"}},
		{"incident report, the first", []string{"incident", "report", made.incidents[0]}},
		{"incident report, in the middle", []string{"incident", "report", made.incidents[len(made.incidents)/2]}},
		{"incident report last", []string{"incident", "report", "last"}},
		{"audit verify", []string{"audit", "verify"}},
	} {
		s := series{name: run.name}
		for range min(p.pairs, 3) {
			c, err := measure(ctx, own, false, append(append([]string{p.ctwarden}, run.args...), "--log", path)...)
			if err != nil {
				return err
			}
			s.add(c)
		}
		s.print("")
	}
	return nil
}
