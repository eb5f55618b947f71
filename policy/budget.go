package policy

import (
	"math"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Budget is how large the table may become.
type Budget struct {
	// Bytes is the memory permitted for entries and hash together.
	Bytes uint64 `json:"bytes"`
	// PerEntry is what one entry takes.
	PerEntry uint64 `json:"per_entry"`
	// Max is the largest nf_conntrack_max within Bytes and the ceiling, if
	// every table that can fill did; Buckets the hash for it.
	Max     uint64 `json:"max"`
	Buckets uint64 `json:"buckets"`
	// Hold is why the budget can't be used now: the memory is unknown, or
	// under pressure.
	Hold Hold `json:"hold,omitempty"`
}

// budget computes the largest table that the host's memory permits. What the
// entries take now is added back to MemAvailable: otherwise the budget would
// shrink as the table fills.
func (l *Limits) budget(o *Observation) Budget {
	m := &o.Memory
	b := Budget{PerEntry: uint64(m.EntryBytes) + uint64(l.Budget.ExtensionBytes)}
	if m.Total == 0 || m.EntryBytes == 0 {
		b.Hold = HeldMemoryUnknown
		return b
	}
	tables := uint64(max(o.Host.Tables, 1))
	entries := max(o.Host.Entries, o.Table.Entries)
	used := saturatingMul(entries, b.PerEntry)
	available := m.Available + min(used, math.MaxUint64-m.Available)
	b.Bytes = min(l.Budget.TotalShare.Of(m.Total), l.Budget.AvailableShare.Of(available))
	// Each entry also needs its share of a hash at the ratio to keep. While
	// the hash is resized, the old one is still there.
	hash := saturatingMul(o.Table.Buckets, conntrack.BucketBytes)
	perMax := saturatingMul(b.PerEntry, tables)
	if l.Hash.MaxRatio > 0 {
		perMax += (conntrack.BucketBytes-1)/l.Hash.MaxRatio + 1 // rounded up
	}
	if b.Bytes > hash && perMax > 0 {
		b.Max = min((b.Bytes-hash)/perMax, l.Raise.Ceiling)
	}
	if l.Hash.MaxRatio > 0 {
		// Version 1 of the law rounds the quotient down.
		b.Buckets = conntrack.RoundBuckets(b.Max / l.Hash.MaxRatio)
	}
	if l.Budget.MaxPressure > 0 && m.Pressure > l.Budget.MaxPressure {
		b.Hold = HeldPressure
	}
	return b
}

func saturatingMul(a, b uint64) uint64 {
	if a != 0 && b > math.MaxUint64/a {
		return math.MaxUint64
	}
	return a * b
}
