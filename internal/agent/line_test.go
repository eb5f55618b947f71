package agent

import (
	"slices"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/sandbox"
	"github.com/ctwarden/ctwarden/internal/sandbox/sandboxtest"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/watcher"
)

// waitForRaise watches the kernel, not ctwarden: it returns the time from the
// first step of the drop counter to another max.
func waitForRaise(box *sandbox.Sandbox, before uint64) <-chan time.Duration {
	reader := watcher.TableReader{NetNS: box.NS}
	took := make(chan time.Duration, 1)
	var first time.Time
	go func() {
		defer reader.Close()
		for begun := time.Now(); time.Since(begun) < 30*time.Second; time.Sleep(time.Millisecond / 2) {
			sample, err := reader.Read()
			if err != nil {
				continue
			}
			if first.IsZero() && sample.Table.Counters.Drop > 0 {
				first = time.Now()
			}
			if sample.Table.Max != before {
				if first.IsZero() {
					first = time.Now() // raised before a packet was lost
				}
				took <- time.Since(first)
				return
			}
		}
		close(took)
	}()
	return took
}

// lineOnlyLimits are limits under which a table that is nearly full from the start
// is no matter: only the kernel's word counts.
func lineOnlyLimits() policy.Limits {
	limits := policy.Defaults()
	limits.Levels.HighEnter, limits.Levels.HighLeave = 9990, 9985
	limits.Levels.ElevatedEnter, limits.Levels.ElevatedLeave, limits.Levels.ElevatedForecast, limits.Levels.HighForecast = 9980, 9975, 0, 0
	limits.Levels.ExhaustedEnter, limits.Levels.ExhaustedLeave = 9999, 9998
	limits.Hash.MaxRatio = 0
	return limits
}

// raiseAfterLine fills a table so fast that no forecast can help, with entries
// that the kernel does not evict, until it drops packets and says so. It
// returns the time from the first packet lost to max raised, and how many were
// lost.
func raiseAfterLine(tb testing.TB) (took time.Duration, lost uint64) {
	tb.Helper()
	box := sandboxtest.New(tb)
	before := cttest.HostMax(tb)
	const room = 20_000
	if before < 2*room || before > 1<<20 {
		tb.Skipf("needs an nf_conntrack_max between %d and %d to fill a table, not %d", 2*room, 1<<20, before)
	}
	cttest.Fill(tb, box.NS, int(before-room), cttest.Assured())
	a, start := newAgent(tb, box, lineOnlyLimits())
	stop := start()
	defer stop()
	for len(a.Status().Tables) == 0 {
		time.Sleep(time.Millisecond)
	}
	raised := waitForRaise(box, before)
	flood, err := sandbox.NewFlood(box.NS)
	if err != nil {
		tb.Fatal(err)
	}
	defer flood.Close()
	if err := flood.Run(tb.Context(), 1_000_000, room+30_000); err != nil {
		tb.Fatal(err)
	}
	took, ok := <-raised
	if !ok {
		tb.Fatalf("max was not raised; %d packets sent, %d refused; status %s",
			flood.Sent.Load(), flood.Refused.Load(), a.Status().Tables[0].Text)
	}
	return took, flood.Refused.Load()
}

func TestKernelLineRaisesMax(t *testing.T) {
	cttest.NeedHost(t)
	took, lost := raiseAfterLine(t)
	t.Logf("from the first packet lost to max raised: %s (%d packets lost)", took, lost)
}

// A round is one of many in a benchmark: what it began ends with it.
type round struct {
	testing.TB
	undo []func()
}

func (r *round) Cleanup(fn func()) { r.undo = append(r.undo, fn) }

func (r *round) end() {
	for _, fn := range slices.Backward(r.undo) {
		fn()
	}
}

// BenchmarkKernelLine is what `make bench` prints of it. One round says little:
// -benchtime=100x is for the figures in docs/benchmarks.md.
func BenchmarkKernelLine(b *testing.B) {
	cttest.NeedHost(b)
	var all []time.Duration
	one := func() {
		r := &round{TB: b}
		defer r.end()
		took, _ := raiseAfterLine(r)
		all = append(all, took)
	}
	for b.Loop() {
		one()
		// The kernel says it ten times in five seconds (net_ratelimit), and then
		// no more.
		time.Sleep(6 * time.Second)
	}
	slices.Sort(all)
	millis := func(share int) float64 { return all[(len(all)-1)*share/100].Seconds() * 1000 }
	b.ReportMetric(millis(50), "median-ms")
	b.ReportMetric(millis(99), "p99-ms")
	b.ReportMetric(millis(100), "worst-ms")
}
