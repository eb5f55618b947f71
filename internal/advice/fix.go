package advice

import (
	"fmt"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// A Fix is the permanent fix: files, and what to know about them. Its JSON is a
// contract.
type Fix struct {
	Max     uint64 `json:"max"`
	Buckets uint64 `json:"buckets"`
	// Timeouts are those to shorten for good.
	Timeouts conntrack.Timeouts `json:"timeouts,omitzero"`
	// Why is how the numbers came about, Warnings what they cost.
	Why      []string `json:"why"`
	Warnings []string `json:"warnings,omitempty"`
	Files    []File   `json:"files"`
}

const (
	// targetFullness is the fullness that the observed peak is to have: below 60 %
	// an incident would end.
	targetFullness = 6000
	// maxEntries is the largest limit that every kernel takes (INT_MAX).
	maxEntries = 1<<31 - 1
)

// New sizes the fix for a table.
func New(f Facts) Fix {
	var fix Fix
	fix.size(&f)
	fix.shorten(&f)
	fix.Files = append(fix.Files, fix.sysctlFile(&f), fix.modprobeFile(&f), modulesFile(), udevFile())
	fix.addNoTrack(&f)
	return fix
}

func (fix *Fix) explain(format string, args ...any) {
	fix.Why = append(fix.Why, fmt.Sprintf(format, args...))
}

func (fix *Fix) warn(format string, args ...any) {
	fix.Warnings = append(fix.Warnings, fmt.Sprintf(format, args...))
}

// sizedMax returns the max that the peak would fill to 60 % (wanted), and the
// largest one up to that within the memory budget; never less than there is.
func (f *Facts) sizedMax() (limit, wanted uint64) {
	wanted = min(f.Peak, maxEntries) + min(f.Refused, maxEntries)
	wanted = (wanted*10000/targetFullness + 1023) / 1024 * 1024
	limit = min(max(wanted, f.Max), maxEntries)
	if f.Budget.Max > 0 {
		limit = min(limit, max(f.Budget.Max, f.Max))
	}
	return limit, wanted
}

// sizedBuckets returns the hash for a limit; never a smaller one than there is.
func (f *Facts) sizedBuckets(limit uint64) uint64 {
	return max(conntrack.Buckets(limit, conntrack.EntriesPerBucket), f.Buckets)
}

func (fix *Fix) size(f *Facts) {
	limit, wanted := f.sizedMax()
	fix.Max, fix.Buckets = limit, f.sizedBuckets(limit)
	switch {
	case wanted <= f.Max:
		fix.explain("nf_conntrack_max stays %d: the peak of %d entries fits with room to spare", f.Max, f.Peak)
	case limit < min(wanted, maxEntries):
		fix.explain("nf_conntrack_max %d: the peak of %d entries should fill 60 %% of %d, but that is beyond the bounds of ctwarden's configuration", limit, f.Peak, wanted)
		fix.warn("The bounds of ctwarden's configuration (its ceiling, and a memory budget of %d MiB) end at %d entries, less than the %d wanted. "+
			"Widen them, add memory, or track fewer connections.", f.Budget.Bytes>>20, f.Budget.Max, wanted)
	case f.Refused > 0:
		fix.explain("nf_conntrack_max %d: the peak was %d entries, and %d more packets were refused; together they are to fill 60 %%", limit, f.Peak, f.Refused)
	default:
		fix.explain("nf_conntrack_max %d: the peak of %d entries is to fill 60 %% of it", limit, f.Peak)
	}
	if f.Budget.PerEntry > 0 {
		fix.explain("a full table of that size takes about %d MiB (%d bytes an entry), and as much again in each other network namespace that fills",
			(limit*f.Budget.PerEntry+fix.Buckets*conntrack.BucketBytes)>>20, f.Budget.PerEntry)
	}
	if fix.Buckets == f.Buckets {
		fix.explain("nf_conntrack_buckets stays %d: enough for that many entries", fix.Buckets)
		return
	}
	fix.explain("nf_conntrack_buckets %d: at most %d entries for each bucket, the ratio that ctwarden keeps; %d KiB",
		fix.Buckets, conntrack.EntriesPerBucket, fix.Buckets*conntrack.BucketBytes>>10)
}

// The values that the timeouts of a cause are shortened to, in seconds.
const (
	timeWait    = 60
	synSent     = 60
	synRecv     = 30
	established = 86400
)

// shorten chooses the timeouts of the cause.
func (fix *Fix) shorten(f *Facts) {
	set := func(t conntrack.Timeout, seconds uint32, why string) {
		if f.Timeouts[t] <= seconds {
			return
		}
		fix.Timeouts[t] = seconds
		fix.explain("%s %d s -> %d s: %s", t.Sysctl(), f.Timeouts[t], seconds, why)
	}
	switch f.Cause {
	case policy.Churn:
		set(conntrack.TCPTimeWait, timeWait, "closed connections fill the table, and a minute is enough for late packets")
	case policy.HalfOpen:
		set(conntrack.TCPSynSent, synSent, "connections that nobody answers need not be remembered for two minutes")
		set(conntrack.TCPSynRecv, synRecv, "a handshake that takes longer will be tried again")
	case policy.Stale:
		set(conntrack.TCPEstablished, established, "connections silent for longer than a day are mostly gone; TCP keepalive asks after 2 h 11 min")
		fix.warn("A connection that is silent for longer than a day and has no keepalive loses its entry: behind NAT it breaks.")
	}
}
