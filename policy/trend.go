package policy

import (
	"math"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Trend is the smoothed movement of a table. The zero Trend has seen
// nothing. Rates are per second.
type Trend struct {
	// At and Entries are the last observation, Counters its counters.
	At       BootTime           `json:"at,omitzero"`
	Entries  uint64             `json:"entries"`
	Counters conntrack.Counters `json:"counters,omitzero"`
	// Rising is how many observations in a row have seen growth.
	Rising uint8 `json:"rising,omitempty"`
	// Fast and Slow are the slope of the count, smoothed over about two and
	// ten seconds; Peak is the highest Fast since the table last stopped
	// growing, Worst the highest in about ten minutes.
	Fast  float64 `json:"fast"`
	Slow  float64 `json:"slow"`
	Peak  float64 `json:"peak"`
	Worst float64 `json:"worst"`
	// Dropped and Evicted are the rates of packets dropped because the table
	// was full and of entries early dropped, Failed and Chains those of
	// insertions that failed and of chains too long; smoothed over about ten
	// seconds.
	Dropped float64 `json:"dropped,omitempty"`
	Evicted float64 `json:"evicted,omitempty"`
	Failed  float64 `json:"failed,omitempty"`
	Chains  float64 `json:"chains,omitempty"`
}

// Time constants of the smoothing.
const (
	fastTau  = 2.0
	slowTau  = 10.0
	worstTau = 600.0
)

// next returns the trend with one more observation, and what was counted in
// between.
func (t *Trend) next(o *Observation) (Trend, conntrack.Counters) {
	n := *t
	n.At, n.Entries, n.Counters = o.Now, o.Table.Entries, o.Table.Counters
	if t.At == 0 || o.Now <= t.At {
		// The first observation, or a clock that went back: there is no interval to
		// divide by. Earlier counter values are of no use.
		if t.At == 0 {
			return n, conntrack.Counters{}
		}
		n.At = o.Now
		return n, o.Table.Counters.Since(t.Counters)
	}
	drops := o.Table.Counters.Since(t.Counters)
	elapsed := time.Duration(o.Now - t.At).Seconds()
	slope := (float64(o.Table.Entries) - float64(t.Entries)) / elapsed
	n.Fast = smooth(t.Fast, slope, elapsed, fastTau)
	n.Slow = smooth(t.Slow, slope, elapsed, slowTau)
	if slope > 0 {
		n.Rising = min(t.Rising, math.MaxUint8-1) + 1
		n.Peak = max(t.Peak, n.Fast)
	} else {
		n.Rising = 0
		if n.Fast <= 0 {
			n.Peak = 0
		}
	}
	n.Worst = max(n.Fast, smooth(t.Worst, 0, elapsed, worstTau))
	n.Dropped = smooth(t.Dropped, float64(drops.FullDrops())/elapsed, elapsed, slowTau)
	n.Evicted = smooth(t.Evicted, float64(drops.EarlyDrop)/elapsed, elapsed, slowTau)
	n.Failed = smooth(t.Failed, float64(drops.InsertFailed)/elapsed, elapsed, slowTau)
	n.Chains = smooth(t.Chains, float64(drops.ChainTooLong)/elapsed, elapsed, slowTau)
	return n, drops
}

// smooth moves an average with time constant tau towards value, for an
// observation elapsed seconds after the one before. It must give the same bits
// on every machine, because a recorded plan is decided again elsewhere: hence
// no math.Exp, which differs between processors, and the conversion, which
// forbids the compiler to fuse the multiplication with the addition.
func smooth(average, value, elapsed, tau float64) float64 {
	return average + float64((value-average)*(elapsed/(tau+elapsed)))
}

// Rate is the slope to plan with: the larger of the fast and the slow one, so
// that neither a burst nor a steady climb is missed. Negative when falling.
func (t *Trend) Rate() float64 { return max(t.Fast, t.Slow) }

// Falling reports whether the table is emptying.
func (t *Trend) Falling() bool { return t.Fast < 0 && t.Rising == 0 }

// Easing reports whether growth has clearly passed its peak: raising now would
// be for a burst that is over. oomd uses the same share to decide this for
// memory pressure.
func (t *Trend) Easing() bool { return t.Fast < 0.85*t.Peak }
