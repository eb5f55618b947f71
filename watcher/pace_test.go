package watcher_test

import (
	"math"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/watcher"
)

func TestInterval(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		name                string
		pace                watcher.Pace
		headroom, perSecond uint64
		want                time.Duration
	}{
		{"a table that does not grow", watcher.Pace{}, 1000, 0, time.Second},
		{"a table far from full", watcher.Pace{}, 1_000_000, 10, time.Second},
		{"half a second to full", watcher.Pace{}, 500, 1000, 500 * ms},
		{"just above the least", watcher.Pace{}, 51, 1000, 51 * ms},
		{"just below the least", watcher.Pace{}, 49, 1000, 50 * ms},
		{"a full table", watcher.Pace{}, 0, 1000, 50 * ms},
		{"a full table that does not grow", watcher.Pace{}, 0, 0, time.Second},
		{"an unlimited table", watcher.Pace{}, math.MaxUint64, 1, time.Second},
		{"just within 64 bits of nanoseconds", watcher.Pace{}, math.MaxUint64, 1_000_000_000, time.Second},
		{"the largest numbers", watcher.Pace{}, math.MaxUint64, math.MaxUint64, time.Second},
		{"an absurd rate", watcher.Pace{}, 1, math.MaxUint64, 50 * ms},
		{"bounds of one's own", watcher.Pace{Least: 10 * ms, Most: 250 * ms}, 20, 1000, 20 * ms},
		{"the most of one's own", watcher.Pace{Most: 250 * ms}, 900, 1000, 250 * ms},
		{"the least of one's own", watcher.Pace{Least: 200 * ms}, 1, 1000, 200 * ms},
		{"most prevails over least", watcher.Pace{Least: 500 * ms, Most: 100 * ms}, 1, 1, 100 * ms},
		{"negative bounds are the usual ones", watcher.Pace{Least: -1, Most: -1}, 0, 1, 50 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.pace.Interval(c.headroom, c.perSecond); got != c.want {
				t.Errorf("Interval(%d, %d) = %v, want %v", c.headroom, c.perSecond, got, c.want)
			}
		})
	}
}
