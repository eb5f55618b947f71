package census

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/nfct"
)

// A Count adds entries up to a Summary. Its fields say what counts as
// deletable and as ageable; they are set before the first Add.
type Count struct {
	// Timeouts are those in force: what is missing from one is how long an
	// entry has been idle.
	Timeouts nfct.Timeouts
	// MinIdle and SynSentIdle (TCP in SYN_SENT) make an unreplied entry
	// deletable, more than Remaining seconds left a closing one ageable.
	MinIdle, SynSentIdle time.Duration
	Remaining            uint32

	Summary Summary
}

// untouchable entries are never deleted or aged.
const untouchable = nfct.StatusExpected | nfct.StatusDying | nfct.StatusFixedTimeout | nfct.StatusHelper |
	nfct.StatusOffload | nfct.StatusHWOffload

// staleAfter is how long an established connection is idle before it counts as
// stale.
const staleAfter = 24 * time.Hour

// Add counts one entry. It does not keep it.
func (c *Count) Add(e *nfct.Entry) {
	s := &c.Summary
	s.Seen++
	touchable := e.Status&untouchable == 0 && !e.HasHelper && !e.HasMaster
	unreplied := e.Status&nfct.StatusSeenReply == 0
	if unreplied {
		s.Unreplied++
	}
	if e.Status&nfct.StatusAssured != 0 {
		s.Assured++
	}
	if e.Orig.Src.IsLoopback() && e.Orig.Dst.IsLoopback() {
		s.Loopback++
	}
	halfOpen := unreplied
	seconds, _ := c.idle(e)
	idle := time.Duration(seconds) * time.Second
	switch e.State {
	case nfct.StateSynSent, nfct.StateSynSent2, nfct.StateSynRecv:
		halfOpen = true
	case nfct.StateEstablished:
		s.Established++
		if idle >= staleAfter {
			s.Stale++
		}
	case nfct.StateTimeWait:
		s.TimeWait++
		s.Closing++
	case nfct.StateFinWait, nfct.StateCloseWait, nfct.StateLastAck, nfct.StateClose:
		s.Closing++
	}
	if halfOpen {
		s.HalfOpen++
	}
	if touchable && deletable(e) && idle >= c.need(e) {
		s.Deletable++
	}
	if touchable && closing(e.State) && e.Timeout > c.Remaining {
		s.Ageable++
	}
}

// deletable reports whether deletion may touch the entry once it has been idle:
// nobody answered, it is no live connection of which one side is seen, and how
// long it has been idle can be proven.
func deletable(e *nfct.Entry) bool {
	if e.Status&(nfct.StatusSeenReply|nfct.StatusAssured|nfct.StatusDstNAT) != 0 || e.Proto == nfct.ProtoGRE {
		return false
	}
	switch e.State {
	case nfct.StateEstablished, nfct.StateCloseWait, nfct.StateSynSent2:
		return false
	}
	return true
}

// closing reports whether ageing may touch the state: CLOSE_WAIT is left out,
// whose peer may take its time to close.
func closing(state nfct.TCPState) bool {
	switch state {
	case nfct.StateFinWait, nfct.StateLastAck, nfct.StateTimeWait, nfct.StateClose:
		return true
	}
	return false
}

func (c *Count) need(e *nfct.Entry) time.Duration {
	if e.State == nfct.StateSynSent {
		return c.SynSentIdle
	}
	return c.MinIdle
}

// idle is how many seconds ago the entry's last packet was, at least; 0 if that
// is not known, because it has more left than the timeout would give it.
func (c *Count) idle(e *nfct.Entry) (seconds uint32, known bool) {
	full := c.Timeouts[e.LivesBy()]
	if full == 0 || e.Timeout > full {
		return 0, false
	}
	return full - e.Timeout, true
}
