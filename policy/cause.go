package policy

import (
	"math"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Cause is why a table is in trouble.
type Cause uint8

// The causes. The zero Cause is that there is no trouble.
const (
	NoCause Cause = iota
	// Unknown: the table fills, and neither a census nor the counters show
	// the kind of entries.
	Unknown
	// Load: live, mostly ASSURED connections.
	Load
	// Churn: connections that are closing, at least half.
	Churn
	// HalfOpen: unanswered connections, at least half.
	HalfOpen
	// Stale: established connections idle for more than a day, at least half.
	Stale
	// Elsewhere: the table of another namespace is full, not this one.
	Elsewhere
	// InsertFailed: entries clash below max.
	InsertFailed
	// LongChains: hash chains are too long for new entries.
	LongChains
	// NoMemory: the kernel can't allocate entries below max.
	NoMemory
)

var causeNames = []string{
	"none", "unknown", "load", "churn", "half_open", "stale", "elsewhere",
	"insert_failed", "long_chains", "no_memory",
}

// String returns the name used in the audit log.
func (c Cause) String() string { return nameOf(causeNames, c) }

// MarshalText implements encoding.TextMarshaler.
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Cause) UnmarshalText(text []byte) (err error) {
	*c, err = parseName[Cause](causeNames, text, "cause")
	return err
}

// How fresh a census must be to describe the table, the share that makes a
// cause, and the one that is worth a remedy when the cause has none left.
const (
	censusMaxAge = 30 * time.Second
	majorShare   = conntrack.Permyriad(5000)
	notableShare = conntrack.Permyriad(2000)
)

// UnknownShare is an UnassuredShare that the counters do not show.
const UnknownShare = conntrack.Permyriad(math.MaxUint32)

// cause returns why the table is in trouble. Causes outside of the table come
// first, because growing the table would hide them; but only while the table is
// not nearly full, because a full table shows the same signs.
func (l *Limits) cause(o *Observation, a *Assessment) Cause {
	if o.Absent {
		return NoCause
	}
	if c := l.causeOutsideTable(o, a); c != NoCause {
		return c
	}
	if a.Level == Calm {
		return NoCause
	}
	if o.hasFreshCensus() {
		return censusCause(o)
	}
	switch u := a.UnassuredShare; {
	case u == UnknownShare:
		return Unknown
	case u >= majorShare:
		return HalfOpen
	}
	return Load
}

// A rate per second below which a counter that advances is noise: connection
// setups race now and then on every host.
const noise = 1.0

func (l *Limits) causeOutsideTable(o *Observation, a *Assessment) Cause {
	if o.Table.Max != 0 && a.Fullness >= l.Levels.NearMax {
		return NoCause
	}
	t := &a.Trend
	switch {
	case t.Chains > noise:
		return LongChains
	case a.Level >= High:
		// What else goes wrong on a busy host does not hide that this table
		// is about to fill.
		return NoCause
	case t.Failed > noise:
		return InsertFailed
	case t.Dropped > noise && a.Drops.FullDrops() > 0 && o.Table.Max != 0 && !a.wasFull():
		return NoMemory
	case o.Elsewhere > 0, o.Full > 0 && a.Drops.FullDrops() == 0 && !a.wasFull():
		return Elsewhere
	}
	return NoCause
}

// wasFull reports whether the drops can be due to a limit that was raised a
// moment ago.
func (a *Assessment) wasFull() bool {
	return a.Trend.Rate() > float64(a.headroom())/10
}

func censusCause(o *Observation) Cause {
	c := &o.Census
	switch {
	case c.Share(c.Closing) >= majorShare:
		return Churn
	case c.Share(c.HalfOpen) >= majorShare:
		return HalfOpen
	case c.Share(c.Stale) >= majorShare:
		return Stale
	}
	return Load
}

// unassured estimates the share u of entries that are not ASSURED from how
// often early drop fails: it scans 8 buckets of k entries each, so that it
// finds no victim with probability exp(-8ku). See early_drop in
// net/netfilter/nf_conntrack_core.c (8 is NF_CT_EVICTION_RANGE). Early drop
// can evict several entries at once, so the estimate leans to the high side.
func unassured(o *Observation, t *Trend) conntrack.Permyriad {
	if o.Table.Buckets == 0 || o.Table.Entries == 0 || t.Dropped+t.Evicted < noise {
		return UnknownShare
	}
	entries := max(o.Host.Entries, o.Table.Entries)
	k := 2 * float64(entries) / float64(o.Table.Buckets)
	failing := t.Dropped / (t.Dropped + t.Evicted)
	if failing < 1e-6 {
		return 10000
	}
	u := -math.Log(failing) / (8 * k)
	return conntrack.Permyriad(min(u, 1) * 10000)
}
