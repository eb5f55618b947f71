package tablesim

import (
	"fmt"
	"io"
	"time"

	"github.com/ctwarden/ctwarden/policy"
)

// A Result is what a scenario came to under a policy.
type Result struct {
	Scenario string  `json:"scenario"`
	About    string  `json:"about,omitempty"`
	Timeline []Line  `json:"timeline"`
	Curve    []Point `json:"curve"`
	// Policy is what the load lost under the policy, Nothing without any,
	// and Cron where a cron job doubles max each minute that the table is
	// more than 80 % full, as far as the kernel permits.
	Policy  Sum `json:"policy"`
	Nothing Sum `json:"nothing"`
	Cron    Sum `json:"cron"`
	// Iterations counts the observations, Acts the plans that acted.
	Iterations int `json:"turns"`
	Acts       int `json:"acts"`
	// WorstStall is how long packets waited at most for a resize of the hash.
	WorstStall time.Duration `json:"worst_stall_ns,omitempty"`
}

// A Sum is how a run ended.
type Sum struct {
	Losses Losses `json:"losses"`
	// PeakEntries is the most entries in the host's own table, PeakBytes the
	// most memory that all entries and the hash took.
	PeakEntries uint64 `json:"peak_entries"`
	PeakBytes   uint64 `json:"peak_bytes"`
	// Max and Buckets are the values at the end.
	Max     uint64 `json:"max"`
	Buckets uint64 `json:"buckets"`
}

// A Kind is what a line of the timeline is about.
type Kind string

// The kinds of lines.
const (
	EventLine    Kind = "event"
	LevelLine    Kind = "level"
	CauseLine    Kind = "cause"
	ActionLine   Kind = "act"
	VerdictLine  Kind = "verdict"
	OverrideLine Kind = "override"
	HoldLine     Kind = "held"
	BreakerLine  Kind = "breaker"
)

// A Line is something that happened or was decided. The field that its kind is
// about is set.
type Line struct {
	At   time.Duration `json:"at_ns"`
	Kind Kind          `json:"kind"`
	Text string        `json:"text"`

	Level    *policy.Level    `json:"level,omitempty"`
	Cause    policy.Cause     `json:"cause,omitzero"`
	Outcome  *policy.Outcome  `json:"outcome,omitempty"`
	Verdict  *policy.Verdict  `json:"verdict,omitempty"`
	Override *policy.Override `json:"override,omitempty"`
	Hold     policy.Hold      `json:"held,omitempty"`
}

// A Point is a place on the curve: the most entries, and the highest level,
// from At on until the next point.
type Point struct {
	At      time.Duration `json:"at_ns"`
	Entries uint64        `json:"entries"`
	Max     uint64        `json:"max"`
	Level   policy.Level  `json:"level"`
}

// WriteTimeline writes the result as text: what happened, line by line, and
// what was lost. It returns the first error of w.
func (r *Result) WriteTimeline(w io.Writer) error {
	p := printer{w: w}
	if r.About != "" {
		p.printf("%s: %s\n\n", r.Scenario, r.About)
	}
	for i := range r.Timeline {
		line := &r.Timeline[i]
		p.printf("%10s  %-8s  %s\n", clock(line.At), line.Kind, line.Text)
	}
	p.printf("\n%-24s %14s %14s %14s\n", "", "ctwarden", "nothing", "cron")
	sums := [3]*Sum{&r.Policy, &r.Nothing, &r.Cron}
	for _, row := range []struct {
		name  string
		value func(*Sum) uint64
	}{
		{"packets lost", func(s *Sum) uint64 { return s.Losses.Packets() }},
		{"  table full", func(s *Sum) uint64 { return s.Losses.Full }},
		{"  no memory", func(s *Sum) uint64 { return s.Losses.NoMemory }},
		{"  long chains", func(s *Sum) uint64 { return s.Losses.Chains }},
		{"clashes", func(s *Sum) uint64 { return s.Losses.Clash }},
		{"entries early dropped", func(s *Sum) uint64 { return s.Losses.EarlyDropped }},
		{"entries evicted by gc", func(s *Sum) uint64 { return s.Losses.EvictedByGC }},
		{"peak entries", func(s *Sum) uint64 { return s.PeakEntries }},
		{"peak memory, MiB", func(s *Sum) uint64 { return s.PeakBytes >> 20 }},
		{"max at the end", func(s *Sum) uint64 { return s.Max }},
		{"buckets at the end", func(s *Sum) uint64 { return s.Buckets }},
	} {
		a, b, c := row.value(sums[0]), row.value(sums[1]), row.value(sums[2])
		if a|b|c == 0 && row.name != "packets lost" {
			continue
		}
		p.printf("%-24s %14d %14d %14d\n", row.name, a, b, c)
	}
	p.printf("%-24s %14d\n", "acts", r.Acts)
	if r.WorstStall > 0 {
		p.printf("%-24s %14s\n", "worst stall", r.WorstStall.Round(100*time.Microsecond))
	}
	return p.err
}

// A printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// clock prints a time since the begin in milliseconds, as in 1h02m03.450s.
func clock(d time.Duration) string {
	d = d.Round(time.Millisecond)
	h, m, s := d/time.Hour, d%time.Hour/time.Minute, float64(d%time.Minute)/float64(time.Second)
	switch {
	case h > 0:
		return fmt.Sprintf("%dh%02dm%04.1fs", h, m, s)
	case m > 0:
		return fmt.Sprintf("%dm%05.2fs", m, s)
	}
	return fmt.Sprintf("%.2fs", s)
}
