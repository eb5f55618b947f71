package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A series holds the costs of one program, run after run.
type series struct {
	name string
	runs []cost
}

func (s *series) add(c cost) { s.runs = append(s.runs, c) }

func (s *series) print(what string) {
	var rss uint64
	for _, c := range s.runs {
		rss = max(rss, c.rss)
	}
	memory := "-"
	if rss > 0 {
		memory = fmt.Sprintf("%.1f MiB", float64(rss)/(1<<20))
	}
	fmt.Printf("  %-34s %-10s median %7.3f s  CPU %7.3f s  peak %s\n", s.name, what,
		median(s.runs, wall), median(s.runs, cpu), memory)
	for _, c := range s.runs {
		if c.failed != "" {
			fmt.Printf("    did not end well after %s: %s\n", c.wall.Round(time.Millisecond), c.failed)
		}
	}
}

func wall(c cost) float64 { return c.wall.Seconds() }
func cpu(c cost) float64  { return c.cpu.Seconds() }

func median(runs []cost, of func(cost) float64) float64 {
	list := make([]float64, len(runs))
	for i, c := range runs {
		list[i] = of(c)
	}
	return medianOf(list)
}

func medianOf(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	list = slices.Sorted(slices.Values(list))
	if n := len(list); n%2 == 0 {
		return (list[n/2-1] + list[n/2]) / 2
	}
	return list[len(list)/2]
}

// ratios prints a to b, pair by pair: the median, and all of them.
func ratios(a, b *series, bound string) {
	var walls, cpus []float64
	for i := range min(len(a.runs), len(b.runs)) {
		walls = append(walls, wall(a.runs[i])/wall(b.runs[i]))
		cpus = append(cpus, cpu(a.runs[i])/cpu(b.runs[i]))
	}
	fmt.Printf("  %s / %s: time %.2f %s, CPU %.2f%s\n", a.name, b.name, medianOf(walls), each(walls), medianOf(cpus), bound)
}

func each(list []float64) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = fmt.Sprintf("%.2f", v)
	}
	return "(" + strings.Join(texts, " ") + ")"
}

// alternate runs both, in the other order every other time.
func alternate(i int, a, b func() error) error {
	if i%2 == 1 {
		a, b = b, a
	}
	if err := a(); err != nil {
		return err
	}
	return b()
}
