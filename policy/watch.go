package policy

import "time"

const (
	// watchedShare: a namespace is watched from a tenth of max on. Levels begin
	// far above, and Host counts those as able to fill.
	watchedShare = 10
	// watchedFor is how long one is watched that holds less: an incident ends,
	// and leases are given back, meanwhile.
	watchedFor = 15 * time.Minute
	// MaxWatched bounds the namespaces that are watched; each costs the
	// memory of a flight recorder, and a thread: the unit permits 64.
	MaxWatched = 24
	// Sweeps take at most a third of a thousandth of the time, which leaves
	// the rest of the idle budget to the daemon itself, but are not put off
	// for ever. A line of the kernel about a namespace that is not watched
	// brings the next one forward, unless sweeps took more than a hundredth of
	// the time then: such lines can come without end.
	sweepShare                         = 3000
	lineSweepShare                     = 100
	minSweepInterval, maxSweepInterval = time.Second, 2 * time.Minute
	// HolderCheckInterval is how often it is checked that the watched namespaces are
	// still held by something else, and how often all are swept while one of
	// them is half full.
	HolderCheckInterval = 2 * time.Second
	ownTableFullPercent = 90 // per cent of max: above, a line needs no other explanation
)

// WatchThreshold returns the number of entries from which on a namespace is watched
// one by one, and counted as a table that could fill; at least 1.
func WatchThreshold(most uint64) uint64 { return max(1, most/watchedShare) }

// A Watched is what the choice of namespaces to watch knows of one that is
// watched.
type Watched struct {
	// Entries is what it held at the last reading.
	Entries uint64
	// Seen is when it last held as many as WatchThreshold, or was begun to be
	// watched.
	Seen BootTime
	// Claimed is true when ctwarden has a value of it to restore.
	Claimed bool
}

// Idle reports whether a namespace need not be watched any more.
func (w *Watched) Idle(now BootTime) bool { return !w.Claimed && now.Since(w.Seen) >= watchedFor }

// Displaced returns which of the watched namespaces, where they are MaxWatched,
// one with that many entries takes the place of: the one that holds least, if
// that is at most half as much and no value of it is to be given back. It is -1
// if there is none.
func Displaced(watched []Watched, entries uint64) int {
	least := -1
	for i := range watched {
		w := &watched[i]
		if w.Entries <= entries/2 && !w.Claimed && (least < 0 || w.Entries < watched[least].Entries) {
			least = i
		}
	}
	return least
}

// SweepInterval returns how long to wait for the next sweep of all namespaces
// after one that took so long. Fullest is what the fullest of the watched ones
// holds, of at most most.
func SweepInterval(took time.Duration, fullest, most uint64) time.Duration {
	every := min(max(minSweepInterval, took*sweepShare), maxSweepInterval)
	if fullest >= max(1, most/2) {
		every = min(every, HolderCheckInterval)
	}
	return every
}

// SweepAfterLine reports whether a sweep is due because the kernel spoke of a
// namespace that is not watched, when the last one took so long and is so long
// ago. A line that the own table explains is no reason.
func SweepAfterLine(own *Observation, took, since time.Duration) bool {
	return own.Table.Entries < own.Table.Max/100*ownTableFullPercent && since >= took*lineSweepShare
}
