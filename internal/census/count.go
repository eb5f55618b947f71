package census

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Count adds entries up to a Summary. Its fields are set before the first
// Add.
type Count struct {
	// Timeouts are those in force: what is missing from one is how long an
	// entry has been idle.
	Timeouts conntrack.Timeouts
	// Deletable and Ageable are the rules of the policy. Optional.
	Deletable, Ageable func(*conntrack.Entry) bool

	Summary Summary
}

// staleAfter is how long an established connection is idle before it counts as
// stale.
const staleAfter = 24 * time.Hour

// Add counts one entry. It does not keep it.
func (c *Count) Add(e *conntrack.Entry) {
	s := &c.Summary
	s.Seen++
	unreplied := e.Status&conntrack.StatusSeenReply == 0
	if unreplied {
		s.Unreplied++
	}
	if e.Status&conntrack.StatusAssured != 0 {
		s.Assured++
	}
	if e.Orig.Src.IsLoopback() && e.Orig.Dst.IsLoopback() {
		s.Loopback++
	}
	if e.Status&(conntrack.StatusSrcNAT|conntrack.StatusDstNAT) != 0 {
		s.Translated++
	}
	halfOpen := unreplied
	seconds, _ := c.idle(e)
	idle := time.Duration(seconds) * time.Second
	switch e.State {
	case conntrack.StateSynSent, conntrack.StateSynSent2, conntrack.StateSynRecv:
		halfOpen = true
	case conntrack.StateEstablished:
		s.Established++
		if idle >= staleAfter {
			s.Stale++
		}
	case conntrack.StateTimeWait:
		s.TimeWait++
		s.Closing++
	case conntrack.StateFinWait, conntrack.StateCloseWait, conntrack.StateLastAck, conntrack.StateClose:
		s.Closing++
	}
	if halfOpen {
		s.HalfOpen++
	}
	if c.Deletable != nil && c.Deletable(e) {
		s.Deletable++
	}
	if c.Ageable != nil && c.Ageable(e) {
		s.Ageable++
	}
}

// idle is how many seconds ago the entry's last packet was, at least; 0 if that
// is not known, because it has more left than the timeout would give it.
func (c *Count) idle(e *conntrack.Entry) (seconds uint32, known bool) {
	full := c.Timeouts[e.LivesBy()]
	if full == 0 || e.Timeout > full {
		return 0, false
	}
	return full - e.Timeout, true
}
