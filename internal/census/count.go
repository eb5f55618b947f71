package census

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Count adds entries up to a Summary. Its fields say what counts as
// deletable and as ageable; they are set before the first Add.
type Count struct {
	// Timeouts are those in force: what is missing from one is how long an
	// entry has been idle.
	Timeouts conntrack.Timeouts
	// MinIdle and SynSentIdle (TCP in SYN_SENT) make an unreplied entry
	// deletable, more than Remaining seconds left a closing one ageable.
	MinIdle, SynSentIdle time.Duration
	Remaining            uint32
	// Protect lists entries that are neither.
	Protect conntrack.Protect

	Summary Summary
}

// untouchable entries are never deleted or aged.
const untouchable = conntrack.StatusExpected | conntrack.StatusDying | conntrack.StatusFixedTimeout | conntrack.StatusHelper |
	conntrack.StatusOffload | conntrack.StatusHWOffload

// staleAfter is how long an established connection is idle before it counts as
// stale.
const staleAfter = 24 * time.Hour

// Add counts one entry. It does not keep it.
func (c *Count) Add(e *conntrack.Entry) {
	s := &c.Summary
	s.Seen++
	touchable := e.Status&untouchable == 0 && !e.HasHelper && !e.HasMaster
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
	if touchable && deletable(e) && idle >= c.need(e) && !c.Protect.Covers(e) {
		s.Deletable++
	}
	if touchable && closing(e.State) && e.Timeout > c.Remaining && !c.Protect.Covers(e) {
		s.Ageable++
	}
}

// deletable reports whether deletion may touch the entry once it has been idle:
// nobody answered, it is no live connection of which one side is seen, and how
// long it has been idle can be proven.
func deletable(e *conntrack.Entry) bool {
	if e.Status&(conntrack.StatusSeenReply|conntrack.StatusAssured|conntrack.StatusDstNAT) != 0 || e.Proto == conntrack.ProtoGRE {
		return false
	}
	switch e.State {
	case conntrack.StateEstablished, conntrack.StateCloseWait, conntrack.StateSynSent2:
		return false
	}
	return true
}

// closing reports whether ageing may touch the state: CLOSE_WAIT is left out,
// whose peer may take its time to close.
func closing(state conntrack.TCPState) bool {
	switch state {
	case conntrack.StateFinWait, conntrack.StateLastAck, conntrack.StateTimeWait, conntrack.StateClose:
		return true
	}
	return false
}

func (c *Count) need(e *conntrack.Entry) time.Duration {
	if e.State == conntrack.StateSynSent {
		return c.SynSentIdle
	}
	return c.MinIdle
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
