package policy

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// JitterLimits keep many hosts, to which the same happened in the same second,
// from doing the same in the same second afterwards. Only what nothing hurries
// is put off: giving back, resizing the hash in calm, and taking up again a
// value that was left to another program, or acting at all after the breaker,
// while the level is below high. The zero JitterLimits put nothing off.
type JitterLimits struct {
	// Share is by how much such a wait is longer at most. Where between 0 and
	// Share a host lies is its Observation.Phase.
	Share conntrack.Permyriad `json:"share"`
	// Start is for how long at most the hash is not resized in calm after the
	// table began to be watched: hosts get their power back together, too.
	Start time.Duration `json:"start_ns"`
}

// fullShare is all of something.
const fullShare conntrack.Permyriad = 10000

// jitter returns by how much a wait is longer on this host than on the first one
// of its fleet. Where a table is about to fill, nothing is.
func (l *Limits) jitter(a *Assessment, wait time.Duration) time.Duration {
	if a.Level >= High || wait <= 0 {
		return 0
	}
	most := min(l.Jitter.Share, fullShare).Of(uint64(wait))
	return time.Duration(min(a.Observation.Jitter, fullShare).Of(most))
}

// starting reports whether the table has not been watched for as long as a
// resize in calm waits on this host.
func (l *Limits) starting(s *State, o *Observation) bool {
	wait := time.Duration(min(o.Jitter, fullShare).Of(uint64(max(l.Jitter.Start, 0))))
	return wait > 0 && (s.Since == 0 || o.Now.Since(s.Since) < wait)
}
