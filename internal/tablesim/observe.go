package tablesim

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// extensionBytes is what an entry takes beyond its slab object.
const extensionBytes = 128

func (h *Host) bytesPerEntry() uint64 {
	return uint64(h.machine.Kernel.entryBytes()) + extensionBytes
}

// epoch is the wall clock at the begin of every scenario.
func epoch() time.Time { return time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC) }

// Observe samples the host's own table. Each kernel line is reported once.
func (h *Host) Observe() policy.Observation {
	o := policy.Observation{
		At: epoch().Add(h.clock + h.wall), Now: h.Now(), Absent: h.absent, Jitter: h.machine.Jitter,
	}
	o.Memory = policy.Memory{
		Total: h.machine.Memory, Pressure: h.pressure, EntryBytes: h.machine.Kernel.entryBytes(),
	}
	o.Memory.Available = h.available
	if h.absent {
		return o
	}
	t := &h.tables[0]
	o.Table = conntrack.Table{Entries: t.entries(), Max: h.max, Buckets: h.buckets, Counters: t.counters}
	o.Timeouts = t.timeouts
	o.Full, t.full = t.full, 0
	for i := range h.tables {
		other := &h.tables[i]
		n := other.entries()
		o.Host.Entries += n
		if n > 0 {
			o.Host.Tables++
		}
		o.Elsewhere += other.full
		other.full = 0
	}
	o.Memory.Available -= min(o.Host.Entries*h.bytesPerEntry(), o.Memory.Available)
	readonly := h.machine.ReadOnly
	o.Kernel = policy.Kernel{
		MaxWritable:      !readonly.Has(PartMax),
		BucketsWritable:  !readonly.Has(PartBuckets) && h.machine.Kernel.resizes(),
		TimeoutsWritable: !readonly.Has(PartTimeouts),
		Entries:          !readonly.Has(PartEntries),
	}
	o.Census, o.CensusAt = h.census.summary, h.census.at
	return o
}

// censusRows is how many entries a census reads before its time box of 250 ms
// is over.
const censusRows = 140_000

// Census counts the host's own table, as the daemon does when policy.CensusDue returns true.
func (h *Host) Census(l *policy.Limits) {
	t := &h.tables[0]
	entries := t.entries()
	if entries == 0 || h.absent || h.machine.ReadOnly.Has(PartEntries) {
		return
	}
	c := census.Summary{Established: t.counts[established], TimeWait: t.counts[timeWait]}
	c.Closing = c.TimeWait
	for k, n := range t.counts {
		if k := kind(k); k.unreplied() {
			c.Unreplied += n
			c.HalfOpen += n
		}
		if kind(k).assured() {
			c.Assured += n
		}
		c.Seen += n
	}
	c.HalfOpen += t.counts[synRecv]
	c.Stale = t.count(h.stale)
	deletion, ageing := l.Rules(t.timeouts, conntrack.Protect{})
	c.Deletable = t.count(h.eligible(deletion))
	c.Ageable = t.count(h.eligible(ageing))
	// A dump frees the expired entries that it walks over.
	seen := min(c.Seen, censusRows)
	t.expired -= scale(t.expired, seen, max(c.Seen, 1))
	if seen < c.Seen {
		c.Sampled = true
		for _, n := range []*uint64{
			&c.Unreplied, &c.Assured, &c.HalfOpen, &c.Closing, &c.TimeWait,
			&c.Established, &c.Stale, &c.Deletable, &c.Ageable,
		} {
			*n = scale(*n, seen, c.Seen)
		}
		c.Seen = seen
	}
	h.census = lastCensus{at: h.Now(), summary: c}
}

// idle is how long the entries of a cohort have been silent, on average.
func (h *Host) idle(c *cohort) time.Duration { return h.clock - c.last - c.width/2 }

// stale entries are established and have been idle for more than a day.
func (h *Host) stale(q *queue, c *cohort) bool {
	return q.kind == established && !q.live && h.idle(c) > 24*time.Hour
}

// eligible entries are those that the rule of an act lets it touch.
func (h *Host) eligible(rule *policy.Rule) selector {
	return func(q *queue, c *cohort) bool {
		if q.live {
			return false
		}
		e := q.kind.entry()
		// Rounded up: an entry with half a second more than the ageing leaves is
		// aged.
		e.Timeout = uint32((max(c.expires+c.width/2-h.clock, 0) + time.Second - 1) / time.Second)
		return rule.JudgeIdle(&e, h.idle(c)) == policy.Eligible
	}
}
