package policy_test

import (
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

// steadyObservations are tables on which the policy does nothing, however often
// it decides.
func steadyObservations() map[string]policy.Observation {
	calm := policy.Observation{
		Now:      policy.BootTime(time.Hour),
		Table:    conntrack.Table{Entries: 10_000, Max: 100_000, Buckets: 1 << 20},
		Timeouts: conntrack.Timeouts{conntrack.UDP: 30, conntrack.TCPSynSent: 120, conntrack.TCPTimeWait: 120, conntrack.TCPFinWait: 120},
		Memory:   policy.Memory{Total: 16 << 30, Available: 8 << 30, EntryBytes: 256},
		Kernel:   policy.Kernel{MaxWritable: true, BucketsWritable: true, TimeoutsWritable: true, Entries: true},
	}
	held := calm
	held.Table.Entries = 96_000
	held.Memory.Available = 10 << 20
	held.Census.Seen, held.Census.Assured, held.Census.Established = 1000, 990, 990
	held.CensusAt = held.Now
	return map[string]policy.Observation{"calm": calm, "high but held": held}
}

// decide makes one decision without outcomes and returns the next state.
func decide(l *policy.Limits, s *policy.State, o *policy.Observation) policy.State {
	a := l.Assess(s, o)
	p := l.Decide(s, &a)
	return s.Next(l, &p, nil)
}

func TestASteadyDecisionDoesNotAllocate(t *testing.T) {
	l := policy.Defaults()
	for name, o := range steadyObservations() {
		t.Run(name, func(t *testing.T) {
			var s policy.State
			allocs := testing.AllocsPerRun(1000, func() {
				o.Now = o.Now.Add(50 * time.Millisecond)
				s = decide(&l, &s, &o)
			})
			if allocs != 0 {
				t.Errorf("%g allocations per decision, want none", allocs)
			}
		})
	}
}

func BenchmarkDecision(b *testing.B) {
	l := policy.Defaults()
	for name, o := range steadyObservations() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var s policy.State
			for b.Loop() {
				o.Now = o.Now.Add(50 * time.Millisecond)
				s = decide(&l, &s, &o)
			}
		})
	}
}

// One iteration is a simulated day with one observation a second.
func BenchmarkDay(b *testing.B) {
	l := policy.Defaults()
	s := &tablesim.Scenario{
		Name: "day", Run: 24 * time.Hour, Noise: 2000,
		Machine: tablesim.Machine{Memory: 8 << 30, Available: 4 << 30, Kernel: tablesim.Release{Major: 6, Minor: 1}, Max: 262144, Buckets: 262144},
		Start:   []tablesim.Start{{Class: tablesim.TCP, Entries: 5000}},
	}
	for _, load := range []tablesim.Load{
		{Class: tablesim.TCPShort, Rate: 200, To: 300}, {Class: tablesim.TCP, Rate: 10, To: 20},
		{Class: tablesim.DNS, Rate: 100, To: 50}, {Class: tablesim.UDPUnreplied, Rate: 20, To: 20},
	} {
		load.For, load.Lasting = s.Run, load.Class.Duration()
		s.Loads = append(s.Loads, load)
	}
	turns := 0
	for b.Loop() {
		turns = 0
		tablesim.Simulate(s, &l, func(*tablesim.Iteration) bool { turns++; return true })
	}
	b.ReportMetric(float64(turns), "turns/op")
}
