package watcher

import (
	"math"
	"math/bits"
	"time"
)

// The usual bounds of a Pace: a calm table is read once a second, one about to
// fill 20 times, which at 30 µs a reading is less than a thousandth of a core.
const (
	LeastInterval = 50 * time.Millisecond
	MostInterval  = time.Second
)

// A Pace bounds the time between two readings. A bound of 0 is the usual one.
type Pace struct {
	Least, Most time.Duration
}

// Interval is how long to wait before the next reading: the time in which the
// headroom (entries up to max) would be gone at perSecond, the worst growth
// seen. So a table is read again before it is full, unless that takes less
// than Least. Most prevails over Least.
func (p Pace) Interval(headroom, perSecond uint64) time.Duration {
	least, most := p.Least, p.Most
	if least <= 0 {
		least = LeastInterval
	}
	if most <= 0 {
		most = MostInterval
	}
	return min(max(timeToFull(headroom, perSecond), least), most)
}

// timeToFull saturates instead of overflowing.
func timeToFull(headroom, perSecond uint64) time.Duration {
	hi, lo := bits.Mul64(headroom, uint64(time.Second))
	if hi >= perSecond { // the quotient would not fit, or there is no growth
		return math.MaxInt64
	}
	ns, _ := bits.Div64(hi, lo, perSecond)
	return time.Duration(min(ns, math.MaxInt64))
}
