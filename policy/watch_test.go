package policy_test

import (
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/policy"
)

func TestWatchThreshold(t *testing.T) {
	for most, want := range map[uint64]uint64{0: 1, 9: 1, 100: 10, 262_144: 26_214} {
		if got := policy.WatchThreshold(most); got != want {
			t.Errorf("of %d: from %d, want %d", most, got, want)
		}
	}
}

func TestWatchedIdle(t *testing.T) {
	const seen = policy.BootTime(time.Hour)
	for name, c := range map[string]struct {
		after   time.Duration
		claimed bool
		want    bool
	}{
		"it held much just now":                {0, false, false},
		"an incident may still go on":          {15*time.Minute - 1, false, false},
		"it has held little for long":          {15 * time.Minute, false, true},
		"a value of it is to be given back":    {24 * time.Hour, true, false},
		"the clock of the reading is the same": {-time.Second, false, false},
	} {
		w := policy.Watched{Seen: seen, Claimed: c.claimed}
		if got := w.Idle(seen + policy.BootTime(c.after)); got != c.want {
			t.Errorf("%s: idle %t, want %t", name, got, c.want)
		}
	}
}

func TestDisplaced(t *testing.T) {
	held := func(entries ...uint64) (all []policy.Watched) {
		for _, n := range entries {
			all = append(all, policy.Watched{Entries: n})
		}
		return all
	}
	claimed := held(10, 20, 30)
	claimed[0].Claimed = true
	for name, c := range map[string]struct {
		watched []policy.Watched
		entries uint64
		want    int
	}{
		"nothing is watched":                    {nil, 100, -1},
		"all hold more than half as much":       {held(10, 20), 19, -1},
		"the one that holds least":              {held(20, 10, 30), 100, 1},
		"exactly half as much":                  {held(10, 20), 20, 0},
		"the least has a value to be put back":  {claimed, 100, 1},
		"the others of it hold too much for it": {claimed, 39, -1},
	} {
		if got := policy.Displaced(c.watched, c.entries); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestSweepInterval(t *testing.T) {
	for name, c := range map[string]struct {
		took          time.Duration
		fullest, most uint64
		want          time.Duration
	}{
		"a few namespaces":             {100 * time.Microsecond, 0, 1000, time.Second},
		"a thousand":                   {10 * time.Millisecond, 0, 1000, 30 * time.Second},
		"more than can be read often":  {time.Second, 0, 1000, 2 * time.Minute},
		"one is nearly half full":      {10 * time.Millisecond, 499, 1000, 30 * time.Second},
		"one is half full":             {10 * time.Millisecond, 500, 1000, 2 * time.Second},
		"one is half full of a few":    {100 * time.Microsecond, 500, 1000, time.Second},
		"none is watched and max is 1": {10 * time.Millisecond, 0, 1, 30 * time.Second},
	} {
		if got := policy.SweepInterval(c.took, c.fullest, c.most); got != c.want {
			t.Errorf("%s: every %s, want %s", name, got, c.want)
		}
	}
}

func TestSweepAlarmed(t *testing.T) {
	const took = 20 * time.Millisecond
	for name, c := range map[string]struct {
		entries uint64
		since   time.Duration
		want    bool
	}{
		"a while after the last sweep":     {0, 2 * time.Second, true},
		"right after it":                   {0, 2*time.Second - 1, false},
		"the own table explains the line":  {900, time.Minute, false},
		"the own table is not full enough": {899, time.Minute, true},
	} {
		var own policy.Observation
		own.Table.Entries, own.Table.Max = c.entries, 1000
		if got := policy.SweepAfterLine(&own, took, c.since); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
