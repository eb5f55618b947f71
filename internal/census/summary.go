package census

import (
	"math"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Summary counts the entries of one table by what can be done about them.
// An entry can stand in several counts. The zero Summary is that of no
// census.
type Summary struct {
	// Seen is how many entries were examined. With Sampled they are a
	// prefix of a dump, which walks the table in hash order and so is an
	// unbiased sample; otherwise they are all that a dump shows.
	Seen    uint64 `json:"seen"`
	Sampled bool   `json:"sampled,omitempty"`
	// Unreplied entries have seen no packet in the reply direction.
	Unreplied uint64 `json:"unreplied"`
	// Assured entries are spared by early drop.
	Assured uint64 `json:"assured"`
	// HalfOpen counts entries that are unreplied, or TCP in SYN_SENT or
	// SYN_RECV.
	HalfOpen uint64 `json:"half_open"`
	// Closing counts TCP in FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT and
	// CLOSE: the states that the kernel's gc may evict although ASSURED.
	Closing uint64 `json:"closing"`
	// TimeWait is the part of Closing in TIME_WAIT.
	TimeWait uint64 `json:"time_wait"`
	// Established counts TCP in ESTABLISHED, Stale the part of it that has
	// been idle for more than a day.
	Established uint64 `json:"established"`
	Stale       uint64 `json:"stale"`
	// Loopback counts entries between loopback addresses.
	Loopback uint64 `json:"loopback"`
	// Translated counts entries whose source or destination is translated
	// (NAT). Logs before this field have 0.
	Translated uint64 `json:"translated,omitempty"`
	// Deletable counts unreplied entries that have been idle for long
	// enough to be deleted, under the limits in force.
	Deletable uint64 `json:"deletable"`
	// Ageable counts closing entries whose remaining time is above what the
	// limits would leave them.
	Ageable uint64 `json:"ageable"`
}

// Share returns n as a share of the entries that were examined.
func (s Summary) Share(n uint64) conntrack.Permyriad { return conntrack.Share(n, s.Seen) }

// someNAT is the share of translated entries from which a table is one of NAT.
const someNAT = conntrack.Permyriad(100)

// HasNAT reports whether so many entries are translated that NOTRACK for a port
// would take the translation of some away: untracked packets have none.
func (s Summary) HasNAT() bool { return s.Share(s.Translated) >= someNAT }

// Scale estimates for a table of entries how many of them are of the kind of
// which n were seen.
func (s Summary) Scale(n, entries uint64) uint64 {
	if s.Seen == 0 || s.Seen >= entries {
		return n
	}
	return s.Share(n).Of(entries)
}

// StandardError estimates by how much the share of the kind of which n were
// seen is off, as a fraction of 1, for a table of entries. It is 0 if all of
// the table was seen. Two in three shares are off by less than it, 95 in 100
// by less than twice as much.
//
// It is that of a simple random sample without replacement: the hash of an
// entry is keyed with a secret of the kernel (hash_conntrack_raw in
// net/netfilter/nf_conntrack_core.c), so each is as likely as any other to lie
// in the part of the table that was walked. One entry of the kind and one of
// the others are added to what was seen, or a share of 0 would claim to be
// exact.
func (s Summary) StandardError(n, entries uint64) float64 {
	if !s.Sampled || s.Seen >= entries {
		return 0
	}
	seen := float64(s.Seen)
	p := (float64(min(n, s.Seen)) + 1) / (seen + 2)
	rest := 1 - seen/float64(entries)
	return math.Sqrt(rest * p * (1 - p) / (seen + 1))
}
