package policy

import (
	"math"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// An Assessment is what an Observation means.
type Assessment struct {
	Observation Observation `json:"observation"`
	// Fullness is entries/max.
	Fullness conntrack.Permyriad `json:"fullness"`
	// Drops is what the counters counted since the observation before.
	Drops conntrack.Counters `json:"drops,omitzero"`
	Trend Trend              `json:"trend"`
	// FullIn is the time until the table is full at the present rate;
	// 0 when it is full, Never when it is not growing.
	FullIn time.Duration `json:"full_in_ns"`
	Level  Level         `json:"level"`
	Cause  Cause         `json:"cause"`
	// UnassuredShare estimates from the counters alone which share of the
	// table early drop could evict; UnknownShare when they do not show it.
	UnassuredShare conntrack.Permyriad `json:"unassured_share"`
	Budget         Budget              `json:"budget"`
}

// Never is the time to full of a table that is not growing.
const Never = time.Duration(math.MaxInt64)

// Assess rates an observation, given the state before it. It changes
// neither.
func (l *Limits) Assess(s *State, o *Observation) Assessment {
	a := Assessment{Observation: *o, Fullness: o.Table.Fullness()}
	a.Trend, a.Drops = s.Trend.next(o)
	a.FullIn = a.fullIn()
	a.Level = l.level(s, o, &a)
	a.UnassuredShare = unassured(o, &a.Trend)
	a.Cause = l.cause(o, &a)
	a.Budget = l.budget(o)
	return a
}

// headroom is the number of entries that still fit.
func (a *Assessment) headroom() uint64 {
	t := &a.Observation.Table
	if t.Entries >= t.Max {
		return 0
	}
	return t.Max - t.Entries
}

func (a *Assessment) fullIn() time.Duration {
	if a.Observation.Table.Max == 0 {
		return Never
	}
	room := a.headroom()
	if room == 0 {
		return 0
	}
	// Two rises in a row are a trend; one may be a single burst between two
	// observations that were a second apart.
	rate := a.Trend.Rate()
	if a.Trend.Rising < 2 || rate <= 0 {
		return Never
	}
	seconds := float64(room) / rate
	if seconds > 1e9 {
		return Never
	}
	return time.Duration(seconds * float64(time.Second))
}

// fullWithin reports whether the forecast has the table full within d.
func (a *Assessment) fullWithin(d time.Duration) bool { return a.FullIn <= d }

// dropping reports whether the kernel lost packets or entries to a full table
// just now.
func (l *Limits) dropping(a *Assessment) bool {
	if a.Fullness < l.Levels.NearMax {
		return false
	}
	return a.Observation.Full > 0 || a.Drops.FullDrops() > 0 || a.Drops.EarlyDrop > 0
}
