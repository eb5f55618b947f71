package tablesim

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Release is a kernel release, as in 6.1. The zero Release behaves like the
// oldest one.
type Release struct {
	Major, Minor uint16
}

// String returns the release as in "6.1".
func (r Release) String() string { return fmt.Sprintf("%d.%d", r.Major, r.Minor) }

// MarshalText implements encoding.TextMarshaler.
func (r Release) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Release) UnmarshalText(text []byte) error {
	major, minor, ok := strings.Cut(string(text), ".")
	a, errA := strconv.ParseUint(major, 10, 16)
	b, errB := strconv.ParseUint(minor, 10, 16)
	if !ok || errA != nil || errB != nil {
		return fmt.Errorf("%q is not a kernel release such as 6.1", text)
	}
	*r = Release{Major: uint16(a), Minor: uint16(b)}
	return nil
}

func (r Release) atLeast(major, minor uint16) bool {
	return r.Major > major || r.Major == major && r.Minor >= minor
}

// A gcMethod is how a kernel gets rid of expired entries that no packet walks
// over.
type gcMethod uint8

const (
	// byTimer: each entry has a timer (before 4.15).
	byTimer gcMethod = iota
	// bySlice: 1/128 of the table at a time, all of it within 16 s.
	bySlice
	// byScan: all of the table every 120 s (5.4 to 5.14).
	byScan
	// byMean: after the mean remaining time, 1 s to 60 s, and then at most
	// 64,000 a second (5.15 and later).
	byMean
)

func (r Release) gcMethod() gcMethod {
	switch {
	case r.atLeast(5, 15):
		return byMean
	case r.atLeast(5, 4):
		return byScan
	case r.atLeast(4, 15):
		return bySlice
	}
	return byTimer
}

// namesNetNS reports whether "table full" lines name the namespace.
func (r Release) namesNetNS() bool { return r.atLeast(6, 17) }

// boundsChains reports whether an insertion into a long chain fails.
func (r Release) boundsChains() bool { return r.atLeast(5, 15) }

// zeroIsUnlimited reports whether max may be 0.
func (r Release) zeroIsUnlimited() bool { return !r.atLeast(7, 0) }

// resizes reports whether the hash can be resized while in use.
func (r Release) resizes() bool { return r.atLeast(4, 15) }

// entryBytes is the slab size of an entry.
func (r Release) entryBytes() uint32 {
	if r.atLeast(5, 19) {
		return 256
	}
	return 320
}

// buckets is the size of the hash that the kernel chooses at load, and max the
// limit that goes with it. See nf_conntrack_init_start in
// net/netfilter/nf_conntrack_core.c.
func (r Release) buckets(memory uint64) uint64 {
	const gib = 1 << 30
	most, least := uint64(65536), uint64(32)
	some := uint64(16384)
	if r.atLeast(5, 15) {
		most, some, least = 262144, 65536, 1024
	}
	switch {
	case memory > 4*gib:
		return most
	case memory > gib:
		return some
	}
	return max(conntrack.RoundBuckets(memory/16384/8), conntrack.RoundBuckets(least))
}

func (r Release) max(buckets uint64) uint64 {
	if r.atLeast(5, 15) {
		return buckets
	}
	return 4 * buckets
}
