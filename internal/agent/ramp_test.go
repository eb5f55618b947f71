package agent

import (
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/sandbox/sandboxtest"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/watcher"
)

// The ramp: new flows a second climb from none to rampRate within rampLasts and
// then stay, until rampFlows have begun. With those that are there before, they
// need more than rampMax entries, and less than a memory budget of any machine
// that is fit to test on.
const (
	rampMax   = 32768
	rampStart = 12000
	rampRate  = 3000
	rampLasts = 12 * time.Second
	rampFlows = 36000
)

// rampDue is how many flows have begun by this age of the ramp.
func rampDue(age time.Duration) uint64 {
	t, full := age.Seconds(), rampLasts.Seconds()
	if t <= full {
		return uint64(rampRate * t * t / (2 * full))
	}
	return uint64(rampRate * (t - full/2))
}

// A losses is what a ramp cost.
type losses struct {
	// Lost packets, by the kernel's count, and flows that never began, by the
	// sender's.
	dropped, refused uint64
	entries, max     uint64
}

// ramp runs the ramp in a namespace of its own, which starts with rampStart
// live entries, with or without ctwarden.
func ramp(tb testing.TB, guarded bool) losses {
	tb.Helper()
	box := sandboxtest.New(tb)
	cttest.Fill(tb, box.NS, rampStart, cttest.Assured())
	flows := sandboxtest.NewExchanges(tb, box.NS)
	reader := watcher.TableReader{NetNS: box.NS}
	defer reader.Close()
	before, err := reader.Read()
	if err != nil {
		tb.Fatal(err)
	}
	if guarded {
		limits := policy.Defaults()
		a, start := newAgent(tb, box, limits)
		stop := start()
		defer stop()
		for len(a.Status().Tables) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	if err := flows.Run(tb.Context(), rampFlows, rampDue); err != nil {
		tb.Fatal(err)
	}
	after, err := reader.Read()
	if err != nil {
		tb.Fatal(err)
	}
	lost := after.Table.Counters.Since(before.Table.Counters).Drop
	return losses{lost, flows.Refused, after.Table.Entries, after.Table.Max}
}

// rampTwice runs the same ramp without ctwarden and with it.
func rampTwice(tb testing.TB) (without, with losses) {
	tb.Helper()
	cttest.NeedHost(tb)
	cttest.LowerMax(tb, rampMax)
	without = ramp(tb, false)
	with = ramp(tb, true)
	tb.Logf("the same ramp of %d flows, nf_conntrack_max %d:\n%24s %10s %10s\n%24s %10d %10d\n%24s %10d %10d\n%24s %10d %10d\n%24s %10d %10d",
		rampFlows, rampMax, "", "without", "ctwarden",
		"packets dropped", without.dropped, with.dropped, "flows that never began", without.refused, with.refused,
		"entries at the end", without.entries, with.entries, "max at the end", without.max, with.max)
	return without, with
}

// TestRampLosesNothing floods a real table with flows that the kernel does not
// evict, faster and faster. There is room for them within the memory budget.
func TestRampLosesNothing(t *testing.T) {
	without, with := rampTwice(t)
	if without.dropped == 0 || without.refused == 0 {
		t.Errorf("nothing was lost without ctwarden (%+v): the ramp proves nothing", without)
	}
	if with.dropped != 0 || with.refused != 0 {
		t.Errorf("%d packets dropped, %d flows refused with ctwarden, want none", with.dropped, with.refused)
	}
}

// BenchmarkRamp is what `make bench` prints of it.
func BenchmarkRamp(b *testing.B) {
	for b.Loop() {
		without, with := rampTwice(b)
		b.ReportMetric(float64(without.dropped), "lost-without")
		b.ReportMetric(float64(with.dropped), "lost-with")
	}
}
