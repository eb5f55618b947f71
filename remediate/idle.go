package remediate

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A change is a value and the time at which a watch first read it.
type change struct {
	at      time.Time
	seconds uint32
}

const (
	// lookApart is the most time between two readings of a watch; after a
	// longer one it begins anew.
	lookApart = time.Minute
	// changesMost bounds a watch: when a timeout changes more often within
	// the time remembered, the watch begins anew.
	changesMost = 64
	// remembered is how far back a watch goes: more than any idle time that
	// may be configured.
	remembered = 8 * 24 * time.Hour
)

// A watch holds the timeouts that a namespace had, and the time of its first and
// last reading.
type watch struct {
	since, last time.Time
	changes     [conntrack.NumTimeouts][]change
}

// look records the timeouts that are in force at now.
func (w *watch) look(timeouts *conntrack.Timeouts, now time.Time) {
	if gap := now.Sub(w.last); gap < 0 || gap > lookApart {
		*w = watch{since: now}
	}
	w.last = now
	for t := conntrack.TCPSynSent; t < conntrack.NumTimeouts; t++ {
		seen := w.changes[t]
		if n := len(seen); n > 0 && seen[n-1].seconds == timeouts[t] {
			continue
		}
		if len(seen) == changesMost {
			*w = watch{since: now, last: now}
			w.look(timeouts, now)
			return
		}
		w.changes[t] = append(forget(seen, now.Add(-remembered)), change{now, timeouts[t]})
	}
}

// forget drops the changes that were over before a time.
func forget(seen []change, before time.Time) []change {
	for len(seen) > 1 && seen[1].at.Before(before) {
		seen = seen[1:]
	}
	return seen
}

// covers reports whether the watch has lasted for d.
func (w *watch) covers(d time.Duration) bool {
	return !w.since.IsZero() && w.last.Sub(w.since) >= d
}

// values adds the values that a timeout had during the last d to list. A value
// counts until the reading that found another one.
func (w *watch) values(t conntrack.Timeout, d time.Duration, list []uint32) []uint32 {
	from := w.last.Add(-d)
	seen := w.changes[t]
	for i := range seen {
		if i+1 < len(seen) && seen[i+1].at.Before(from) {
			continue
		}
		if seen[i].seconds != 0 {
			list = append(list, seen[i].seconds)
		}
	}
	return list
}

// idleness returns the timeouts that the kernel may have given to entries within
// d. A watch that has not lasted that long has none.
func (w *watch) idleness(d time.Duration) conntrack.Idleness {
	if !w.covers(d) {
		return conntrack.Idleness{}
	}
	return conntrack.NewIdleness(func(t conntrack.Timeout) []uint32 { return w.values(t, d, nil) })
}
