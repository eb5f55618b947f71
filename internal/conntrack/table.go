package conntrack

import "fmt"

// A Table is one reading of the connection tracking table of one network
// namespace. The zero Table tracks nothing: no entries, no limit.
type Table struct {
	// NetNS is the inode number of the namespace, the number the kernel
	// prints in "table full in netns N"; 0 means the namespace that
	// ctwarden itself runs in.
	NetNS uint32 `json:"netns,omitempty"`
	// Entries is nf_conntrack_count. It includes entries that a dump does
	// not show (unconfirmed, expired but not reaped, NAT clash) and can pass
	// Max for a moment: the kernel increments before it compares. See
	// __nf_conntrack_alloc in net/netfilter/nf_conntrack_core.c.
	Entries uint64 `json:"entries"`
	// Max is nf_conntrack_max, one number for the whole host that is
	// compared with each namespace's own count. 0 means unlimited up to
	// Linux 6.18; from 7.0 the kernel refuses 0.
	Max uint64 `json:"max"`
	// Buckets is nf_conntrack_buckets, the size of the hash table. An entry
	// stands in two chains, so the mean chain is 2*Entries/Buckets.
	Buckets uint64 `json:"buckets"`
	// Counters are the events counted since ctwarden's first reading.
	Counters Counters `json:"counters"`
}

// Counters are events of one table, summed over the processors and corrected
// for the wrap of the kernel's 32-bit counters. The kernel starts them at
// zero when the namespace is made.
type Counters struct {
	// Drop counts packets dropped: table full, no memory for an entry, or
	// not insertable (InsertFailed counts those as well).
	Drop uint64 `json:"drop"`
	// EarlyDrop counts entries that were not ASSURED and that the kernel
	// evicted to make room at max. The packet passed.
	EarlyDrop uint64 `json:"early_drop"`
	// InsertFailed counts entries that could not be inserted: a clash of
	// tuples, or a hash chain that is too long.
	InsertFailed uint64 `json:"insert_failed"`
	// ChainTooLong is the part of InsertFailed that is due to a hash chain of
	// more than 50 to 79 entries (Linux 5.15 and later; 0 before).
	ChainTooLong uint64 `json:"chain_too_long"`
	// Insert counts insertions; most kernels since 4.18 print 0.
	Insert uint64 `json:"insert"`
}

// FullDrops is the number of packets dropped because the table was full (or
// the kernel had no memory for an entry): drop also counts insertions that
// failed, except those whose chain was too long.
// It is meaningful only for a difference of two readings, and only when the
// table is near max.
func (c Counters) FullDrops() uint64 {
	failed := sub(c.InsertFailed, c.ChainTooLong)
	return sub(c.Drop, failed)
}

// Since returns what was counted after earlier. A counter that went back,
// because the module was loaded anew, counts from zero.
func (c Counters) Since(earlier Counters) Counters {
	return Counters{
		Drop:         since(c.Drop, earlier.Drop),
		EarlyDrop:    since(c.EarlyDrop, earlier.EarlyDrop),
		InsertFailed: since(c.InsertFailed, earlier.InsertFailed),
		ChainTooLong: since(c.ChainTooLong, earlier.ChainTooLong),
		Insert:       since(c.Insert, earlier.Insert),
	}
}

func sub(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

func since(now, earlier uint64) uint64 {
	if now < earlier {
		return now
	}
	return now - earlier
}

// Permyriad is a share in hundredths of a percent: 9500 is 95 %.
type Permyriad uint32

// Fullness returns entries/max in hundredths of a percent. A table without a
// limit (Max 0) is never full; a count above max gives more than 10000.
func (t Table) Fullness() Permyriad {
	return Share(t.Entries, t.Max)
}

// Share returns part/whole in hundredths of a percent, rounded down; 0 when
// whole is 0. It saturates instead of overflowing.
func Share(part, whole uint64) Permyriad {
	if whole == 0 {
		return 0
	}
	const most = 1 << 32
	for part >= 1<<49 { // keep part*10000 inside 64 bits
		part >>= 1
		whole >>= 1
		if whole == 0 {
			return most - 1
		}
	}
	share := part * 10000 / whole
	if share >= most {
		return most - 1
	}
	return Permyriad(share)
}

// Percent returns the share as text, rounded to whole percents but for what
// would be 0 % or 100 % then.
func (p Permyriad) Percent() string {
	if whole := (p + 50) / 100; (whole > 0 && whole < 100) || p == 0 || p == 10000 {
		return fmt.Sprintf("%d %%", whole)
	}
	return fmt.Sprintf("%.2f %%", float64(p)/100)
}

// Of returns the share p of whole, rounded down, saturating.
func (p Permyriad) Of(whole uint64) uint64 {
	q, r := whole/10000, whole%10000
	if p != 0 && q > (1<<64-1)/uint64(p)-1 {
		return 1<<64 - 1
	}
	return q*uint64(p) + r*uint64(p)/10000
}

// Fuller reports whether a table of n entries of most is fuller than another.
// Where max differs, the share counts; without a max (0), the number.
func Fuller(n, most, other, otherMost uint64) bool {
	if most == otherMost || most == 0 || otherMost == 0 {
		return n > other
	}
	return Share(n, most) > Share(other, otherMost)
}
