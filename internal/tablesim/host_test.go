package tablesim_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

// newTestHost returns a host of 8 GiB without loads.
func newTestHost(release tablesim.Release, most, buckets uint64, start ...tablesim.Start) *tablesim.Host {
	return tablesim.NewHost(&tablesim.Scenario{
		Machine: tablesim.Machine{Memory: 8 << 30, Available: 4 << 30, Kernel: release, Max: most, Buckets: buckets},
		Start:   start,
	})
}

var (
	linux310 = tablesim.Release{Major: 3, Minor: 10}
	linux418 = tablesim.Release{Major: 4, Minor: 18}
	linux510 = tablesim.Release{Major: 5, Minor: 10}
	linux617 = tablesim.Release{Major: 6, Minor: 17}
)

// advance moves the clock by d, past every kernel line.
func advance(h *tablesim.Host, d time.Duration) {
	for d > 0 {
		d = h.Advance(d)
	}
}

func load(class tablesim.Class, rate float64, d time.Duration) *tablesim.Load {
	return &tablesim.Load{For: d, Class: class, Rate: rate, To: rate, Lasting: class.Duration()}
}

func TestLittlesLaw(t *testing.T) {
	tests := map[string]struct {
		class tablesim.Class
		lives time.Duration
	}{
		"unreplied UDP":             {tablesim.UDPUnreplied, 30 * time.Second},
		"dns":                       {tablesim.DNS, 30 * time.Second},
		"replied UDP":               {tablesim.UDPReplied, 150 * time.Second},
		"unanswered SYN":            {tablesim.Syn, 120 * time.Second},
		"answered SYN":              {tablesim.SynRecv, 60 * time.Second},
		"short TCP, then TIME_WAIT": {tablesim.TCPShort, 120200 * time.Millisecond},
		"long TCP, then TIME_WAIT":  {tablesim.TCP, 12 * time.Minute},
	}
	for name, test := range tests {
		for _, step := range []time.Duration{70 * time.Millisecond, time.Second, time.Minute} {
			t.Run(fmt.Sprintf("%s, by steps of %s", name, step), func(t *testing.T) {
				h := newTestHost(linux310, 1<<20, 65536) // frees expired entries at once
				h.Begin(load(test.class, 100, time.Hour))
				for d := time.Duration(0); d < 20*time.Minute; d += step {
					advance(h, step)
				}
				got, want := float64(h.Observe().Table.Entries), 100*test.lives.Seconds()
				if math.Abs(got-want) > 0.02*want {
					t.Errorf("%g entries, want about %g", got, want)
				}
				advance(h, time.Hour+test.lives)
				if o := h.Observe(); o.Table.Entries != 0 {
					t.Errorf("%d entries after the load", o.Table.Entries)
				}
			})
		}
	}
}

func TestTheLengthOfStepsChangesNothing(t *testing.T) {
	entries := func(step time.Duration) []uint64 {
		h := tablesim.NewHost(&tablesim.Scenario{
			Noise: 3000, Seed: 5, Machine: tablesim.Machine{Memory: 8 << 30, Kernel: linux310, Max: 1 << 20, Buckets: 65536},
		})
		h.Begin(load(tablesim.TCPIdle, 123.4, time.Hour))
		var seen []uint64
		for range 10 {
			for d := time.Duration(0); d < 30*time.Second; d += step {
				advance(h, step)
			}
			seen = append(seen, h.Observe().Table.Entries)
		}
		return seen
	}
	if diff := cmp.Diff(entries(50*time.Millisecond), entries(time.Second)); diff != "" {
		t.Errorf("arrivals (-50 ms +1 s):\n%s", diff)
	}
}

// Early drop fails with probability exp(-8ku): k entries a bucket, a share u of
// them not ASSURED, 8 buckets examined.
func TestEarlyDropFailsByTheFormula(t *testing.T) {
	for _, share := range []float64{0, 0.01, 0.05, 0.1, 0.2, 1} {
		for _, buckets := range []uint64{16384, 65536} {
			t.Run(fmt.Sprintf("%g not ASSURED, %d buckets", share, buckets), func(t *testing.T) {
				const most = 65536
				unassured := uint64(share * most)
				start := []tablesim.Start{{Class: tablesim.TCPIdle, Entries: most - unassured, Idle: time.Second}}
				if unassured > 0 {
					start = append(start, tablesim.Start{Class: tablesim.SynRecv, Entries: unassured, Idle: time.Second})
				}
				h := newTestHost(linux617, most, buckets, start...)
				h.Begin(load(tablesim.SynRecv, 200, time.Second))
				advance(h, 2*time.Second)
				c := h.Observe().Table.Counters
				want := math.Exp(-8 * 2 * most / float64(buckets) * share)
				got := float64(c.Drop) / 200
				if math.Abs(got-want) > 0.03 {
					t.Errorf("%.3f of the packets are dropped, want %.3f; %d evicted", got, want, c.EarlyDrop)
				}
			})
		}
	}
}

func TestExpiredEntriesStayUntilTheGC(t *testing.T) {
	tests := map[string]struct {
		release     tablesim.Release
		least, most time.Duration
	}{
		"one timer per entry":        {linux310, 0, time.Second},
		"a slice at a time":          {linux418, 2 * time.Second, 40 * time.Second},
		"a scan every 120 s":         {linux510, 25 * time.Second, 121 * time.Second},
		"by the mean remaining time": {linux617, time.Second, 61 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := newTestHost(test.release, 1<<20, 65536)
			h.Begin(load(tablesim.DNS, 1000, time.Second))
			advance(h, 32*time.Second) // all have expired
			lingered := time.Duration(0)
			for ; h.Observe().Table.Entries > 0 && lingered < time.Hour; lingered += time.Second {
				advance(h, time.Second)
			}
			if lingered < test.least || lingered > test.most {
				t.Errorf("expired entries stay for %s, want %s to %s", lingered, test.least, test.most)
			}
		})
	}
}

func TestShorterTimeoutsTouchNewEntriesOnly(t *testing.T) {
	h := newTestHost(linux310, 1<<20, 65536)
	h.Begin(load(tablesim.DNS, 1000, time.Second))
	advance(h, 2*time.Second)
	out := h.Apply(policy.Action{Type: policy.ShortenTimeout, Knob: conntrack.UDP, From: 30, To: 20})
	if !out.OK {
		t.Fatal(out.Error)
	}
	h.Begin(load(tablesim.DNS, 1000, time.Second))
	advance(h, 22*time.Second)
	if n := h.Observe().Table.Entries; n != 1000 {
		t.Errorf("%d entries after 24 s, want the older 1000", n)
	}
	advance(h, 8*time.Second)
	if n := h.Observe().Table.Entries; n != 0 {
		t.Errorf("%d entries after 32 s, want none", n)
	}
}

func TestAgeingLeavesTheRestOfTheTime(t *testing.T) {
	h := newTestHost(linux310, 1<<20, 65536)
	h.Begin(load(tablesim.TCPShort, 1000, time.Second))
	advance(h, 10*time.Second)
	out := h.Apply(policy.Action{Type: policy.AgeEntries, Class: policy.Closing, Remaining: 30, Cap: 400})
	if !out.OK || out.Changed != 400 || out.Examined != 1000 {
		t.Errorf("outcome %+v, want 400 of 1000", out)
	}
	advance(h, 29*time.Second)
	if n := h.Observe().Table.Entries; n != 1000 {
		t.Errorf("%d entries after 29 s, want 1000", n)
	}
	advance(h, 2*time.Second)
	if n := h.Observe().Table.Entries; n != 600 {
		t.Errorf("%d entries after 31 s, want 600", n)
	}
}

func TestApply(t *testing.T) {
	start := []tablesim.Start{
		{Class: tablesim.UDPUnreplied, Entries: 1000, Idle: 20 * time.Second},
		{Class: tablesim.Syn, Entries: 1000, Idle: 12 * time.Second},
		{Class: tablesim.TCP, Entries: 1000},
	}
	remove := policy.Action{
		Type: policy.DeleteEntries, Class: policy.Unreplied, Cap: 5000, MinIdle: 10 * time.Second, SynSentIdle: 15 * time.Second,
	}
	capped := remove
	capped.Cap = 10
	would := remove
	would.Would = true
	tests := map[string]struct {
		act  policy.Action
		want policy.Outcome
	}{
		"max is raised":                     {policy.Action{Type: policy.RaiseMax, From: 65536, To: 70000}, policy.Outcome{OK: true, Before: 65536, After: 70000}},
		"a max that changed is not written": {policy.Action{Type: policy.RaiseMax, From: 65535, To: 70000}, policy.Outcome{ChangedExternally: true, Before: 65536, After: 65536, Error: "not the value that was planned for"}},
		"buckets are rounded up":            {policy.Action{Type: policy.ResizeHash, From: 16384, To: 20000}, policy.Outcome{OK: true, Before: 16384, After: 20480}},
		"idle unreplied are deleted":        {remove, policy.Outcome{OK: true, Before: 3000, After: 2000, Changed: 1000, Examined: 3000}},
		"at most the cap":                   {capped, policy.Outcome{OK: true, Before: 3000, After: 2990, Changed: 10, Examined: 3000}},
		"a would changes nothing":           {would, policy.Outcome{OK: true}},
		"an unknown action is refused":      {policy.Action{}, policy.Outcome{Error: "unknown action none"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out := newTestHost(linux617, 65536, 16384, start...).Apply(test.act)
			test.want.Action = test.act
			out.Took = 0
			if diff := cmp.Diff(test.want, out); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheLogIsRateLimited(t *testing.T) {
	tests := map[string]struct {
		noise uint64
		least uint32
		most  uint32
	}{
		"10 lines in 5 s":                  {0, 10, 20},
		"other lines can use up the limit": {1_000_000, 0, 2},
		"other lines take their share":     {1000, 1, 18},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := &tablesim.Scenario{
				Machine: tablesim.Machine{Memory: 8 << 30, Available: 4 << 30, Kernel: linux617, Max: 1000, Buckets: 1024},
				Start:   []tablesim.Start{{Class: tablesim.TCPIdle, Entries: 1000, Idle: time.Second}},
				Run:     6 * time.Second,
				Loads:   []tablesim.Load{*load(tablesim.TCPIdle, 1000, 6*time.Second)},
				Events:  []tablesim.Event{{Type: tablesim.LogNoise, Value: test.noise}},
			}
			var lines uint32
			l := policy.Limits{Sampling: policy.Defaults().Sampling} // permit nothing
			tablesim.Simulate(s, &l, func(turn *tablesim.Iteration) bool {
				lines += turn.Plan.Assessment.Observation.Full
				return true
			})
			if lines < test.least || lines > test.most {
				t.Errorf("%d lines, want %d to %d", lines, test.least, test.most)
			}
		})
	}
}

func TestKernelLinesNameTheNamespaceSince617(t *testing.T) {
	for release, named := range map[tablesim.Release]bool{linux617: true, linux510: false} {
		t.Run(release.String(), func(t *testing.T) {
			h := tablesim.NewHost(&tablesim.Scenario{
				Machine: tablesim.Machine{
					Memory: 8 << 30, Available: 4 << 30, Kernel: release, Max: 1000, Buckets: 1024,
					NetNS: []tablesim.NetNS{{Name: "web", Inode: 7}},
				},
				Start: []tablesim.Start{{Class: tablesim.TCPIdle, Entries: 1000, Idle: time.Second, NetNS: "web"}},
			})
			l := load(tablesim.TCPIdle, 1000, time.Second)
			l.NetNS = "web"
			h.Begin(l)
			advance(h, 2*time.Second)
			o := h.Observe()
			if (o.Elsewhere > 0) != named || (o.Full > 0) == named {
				t.Errorf("%d lines about this table, %d about another", o.Full, o.Elsewhere)
			}
			if o.Table.Entries != 0 || o.Host.Entries != 1000 || o.Host.Tables != 1 {
				t.Errorf("table %+v, host %+v", o.Table, o.Host)
			}
		})
	}
}

func TestMemoryRunsOutBelowMax(t *testing.T) {
	h := tablesim.NewHost(&tablesim.Scenario{
		Machine: tablesim.Machine{Memory: 8 << 30, Available: 384 * 1000, Kernel: linux617, Max: 65536, Buckets: 1024},
	})
	h.Begin(load(tablesim.TCPIdle, 1100, time.Second))
	advance(h, 2*time.Second)
	if o := h.Observe(); o.Table.Entries != 1000 || o.Table.Counters.Drop != 100 || o.Full != 0 {
		t.Errorf("%d entries, %d drops, %d lines, want 1000, 100 and none", o.Table.Entries, o.Table.Counters.Drop, o.Full)
	}
}

func TestLongChainsRefuseEntries(t *testing.T) {
	for release, refuses := range map[tablesim.Release]bool{linux617: true, linux510: false} {
		t.Run(release.String(), func(t *testing.T) {
			h := newTestHost(release, 1<<20, 1024, tablesim.Start{Class: tablesim.TCPIdle, Entries: 40_000, Idle: time.Second})
			h.Begin(load(tablesim.TCPIdle, 1000, time.Second))
			advance(h, 2*time.Second)
			c := h.Observe().Table.Counters
			if (c.ChainTooLong > 500) != refuses || c.InsertFailed != c.ChainTooLong || c.Drop != 0 {
				t.Errorf("counters %+v", c)
			}
		})
	}
}
