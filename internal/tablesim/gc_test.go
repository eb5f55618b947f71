package tablesim_test

import (
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/tablesim"
)

// lingering returns a host of this release with 9000 entries that expire after
// 8 s. Its gc runs first after 20 s.
func lingering(release tablesim.Release, buckets uint64) *tablesim.Host {
	return tablesim.NewHost(&tablesim.Scenario{
		Machine: tablesim.Machine{
			Memory: 8 << 30, Available: 4 << 30, Kernel: release, Max: 1 << 20, Buckets: buckets,
			GC: 20 * time.Second, Timeouts: conntrack.Timeouts{conntrack.UDP: 8},
		},
		Start: []tablesim.Start{{Class: tablesim.UDPUnreplied, Entries: 9000, Idle: time.Second}},
	})
}

func TestExpiredEntriesWaitForTheGC(t *testing.T) {
	tests := map[string]struct {
		release           tablesim.Release
		before, at, after uint64 // entries at 19 s, 22 s and 62 s
	}{
		"one timer per entry":           {linux310, 0, 0, 0},
		"every two minutes":             {linux510, 9000, 0, 0},
		"at its time, then by the mean": {linux617, 9000, 0, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := lingering(test.release, 1<<28)
			for _, sample := range []struct {
				wait time.Duration
				want uint64
			}{{19 * time.Second, test.before}, {3 * time.Second, test.at}, {40 * time.Second, test.after}} {
				advance(h, sample.wait)
				if got := h.Observe().Table.Entries; got != sample.want {
					t.Errorf("%d entries after %s, want %d", got, h.Now(), sample.want)
				}
			}
		})
	}
}

// The gc adds 100 entries with a minute left to its mean, so that it waits for
// 50 s with 25 entries that have 8 s left, and not for 8 s.
func TestFewEntriesDoNotWakeTheGC(t *testing.T) {
	for rate, quiet := range map[float64]time.Duration{5: 42 * time.Second, 5000: 3 * time.Second} {
		h := lingering(linux617, 1<<28)
		advance(h, 15*time.Second)
		h.Begin(load(tablesim.UDPUnreplied, rate, 5*time.Second))
		advance(h, 6*time.Second) // the gc has run at 20 s
		all := h.Observe().Table.Entries
		advance(h, quiet)
		if got := h.Observe().Table.Entries; got != all {
			t.Errorf("at %g/s the gc ran too early: %d of %d entries are left", rate, got, all)
		}
		advance(h, 15*time.Second)
		if got := h.Observe().Table.Entries; got != 0 {
			t.Errorf("at %g/s the gc did not run: %d of %d entries are left", rate, got, all)
		}
	}
}

// The lookup of a new connection walks one chain and frees its expired entries,
// of any namespace. The fewer buckets, the more it frees.
func TestLookupsFreeExpiredEntries(t *testing.T) {
	const lookups = 4000
	for buckets, want := range map[uint64]float64{
		4096:    9000 * 0.858, // 1 - e^(-2*4000/4096)
		1 << 18: 9000 * 0.030,
	} {
		h := lingering(linux617, buckets)
		advance(h, 12*time.Second)
		h.Begin(load(tablesim.UDPUnreplied, lookups/4, 4*time.Second))
		advance(h, 5*time.Second)
		freed := 9000 + lookups - float64(h.Observe().Table.Entries)
		if freed < 0.95*want || freed > 1.05*want {
			t.Errorf("%g entries freed with %d buckets, want about %g", freed, buckets, want)
		}
	}
}
