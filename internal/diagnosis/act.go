package diagnosis

import (
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
)

// An Act is one that ctwarden could make, with its effect on the table that
// was examined.
type Act struct {
	Type policy.ActionType `json:"type"`
	// Text describes it in words.
	Text string `json:"act"`
	// Frees is how many entries it frees, or (Room) for how many more it
	// makes room; Margin by how much that may be off, 95 times in 100.
	Frees  uint64 `json:"frees"`
	Margin uint64 `json:"margin"`
	Room   bool   `json:"room,omitempty"`
	// From and Until are when the first entries are freed and when all are.
	From  time.Duration `json:"from_ns"`
	Until time.Duration `json:"until_ns"`
	// Cost is what it costs, Bytes how much memory.
	Cost  string `json:"cost"`
	Bytes uint64 `json:"bytes,omitempty"`
	// Eligibility counts, of the entries examined, those that the act would
	// touch, and the others by why not.
	Eligibility *policy.Eligibilities `json:"fates,omitempty"`
	// Held is why ctwarden would not make it.
	Held string `json:"held,omitempty"`
}

// A forecast of when the kernel removes what has expired: its gc comes by
// every minute at the latest (GC_SCAN_INTERVAL_MAX in
// net/netfilter/nf_conntrack_core.c), and lookups remove what they meet.
const gcLatest = time.Minute

// preview lists the acts in the order of the policy's ladders, the mildest
// first. Those that could free nothing are left out, but for the first.
func (l *Census) preview(a *policy.Assessment) []Act {
	acts := []Act{}
	if l.from == fromKernel {
		acts = append(acts, l.previewRaise(a))
	}
	if act, ok := l.previewResize(a); ok {
		acts = append(acts, act)
	}
	for t, short := range l.shorter {
		if short != 0 && l.Census.Summary.Share(l.outlived[t]) >= l.limits.Verify.Useful {
			acts = append(acts, l.previewShorten(conntrack.Timeout(t), short))
		}
	}
	aged, deleted := l.age.counts, l.remove.counts
	if aged[policy.Eligible] > 0 {
		acts = append(acts, l.previewAge(aged))
	}
	if l.Census.Summary.Unreplied > 0 {
		acts = append(acts, l.previewDelete(deleted))
	}
	return acts
}

func (l *Census) previewRaise(a *policy.Assessment) Act {
	t := &l.Observation.Table
	act := Act{Type: policy.RaiseMax, Room: true}
	to := min(t.Max+l.limits.Raise.MaxStep.Of(t.Max), a.Budget.Max)
	switch {
	case t.Max == 0:
		act.Text, act.Held = "raise nf_conntrack_max", policy.HeldUnlimited.Sentence()
	case a.Budget.Hold != policy.NotHeld:
		act.Text, act.Held = "raise nf_conntrack_max", a.Budget.Hold.Sentence()
	case to <= t.Max:
		act.Text, act.Held = "raise nf_conntrack_max", policy.HeldBudget.Sentence()
	default:
		act.Text = fmt.Sprintf("raise nf_conntrack_max %d -> %d", t.Max, to)
		act.Frees = to - t.Max
		act.Bytes = act.Frees * a.Budget.PerEntry
	}
	act.Cost = fmt.Sprintf("%d MiB when it fills; the budget is %d MiB, or %d entries", act.Bytes>>20, a.Budget.Bytes>>20, a.Budget.Max)
	return act
}

func (l *Census) previewResize(a *policy.Assessment) (Act, bool) {
	t, h := &l.Observation.Table, &l.limits.Hash
	if h.MaxRatio == 0 || t.Buckets == 0 || t.Max <= h.MaxRatio*t.Buckets || a.Budget.Buckets <= t.Buckets {
		return Act{}, false
	}
	stall := time.Duration(t.Entries) * h.StallPerEntry
	act := Act{
		Type: policy.ResizeHash, Text: fmt.Sprintf("resize the hash %d -> %d", t.Buckets, a.Budget.Buckets),
		Bytes: (a.Budget.Buckets - t.Buckets) * 8,
		Cost:  fmt.Sprintf("%d MiB, and packets stand still for about %s", (a.Budget.Buckets-t.Buckets)*8>>20, stall.Round(time.Millisecond)),
	}
	if stall > h.MaxStall {
		act.Held = policy.HeldStall.Sentence()
	}
	return act, true
}

// previewShorten counts the entries that the shorter timeout would have ended
// by now: so many fewer there are once it has worked. It works on what the
// kernel gives from now on, so the first effect comes when the shorter time is
// over, and the last when the longer one is.
func (l *Census) previewShorten(t conntrack.Timeout, to uint32) Act {
	from := l.Observation.Timeouts[t]
	return Act{
		Type:  policy.ShortenTimeout,
		Text:  fmt.Sprintf("shorten %s %d s -> %d s", t, from, to),
		Frees: l.scale(l.outlived[t]), Margin: l.scaledMargin(l.outlived[t]),
		From: time.Duration(to) * time.Second, Until: time.Duration(from) * time.Second,
		Cost: costOfShorter(t),
	}
}

func costOfShorter(t conntrack.Timeout) string {
	switch t {
	case conntrack.TCPTimeWait, conntrack.TCPFinWait, conntrack.TCPLastAck, conntrack.TCPClose:
		return "packets of an old connection that come later are not known any more"
	case conntrack.UDP:
		return "an answer that takes longer is not let in"
	}
	return "a handshake that takes longer starts again"
}

func (l *Census) previewAge(counts policy.Eligibilities) Act {
	left := l.limits.Shorten.Floors[conntrack.TCPTimeWait]
	until := time.Duration(left) * time.Second
	n := counts[policy.Eligible]
	act := Act{
		Type: policy.AgeEntries, Text: fmt.Sprintf("age closing entries to %d s", left),
		Frees: l.scale(n), Margin: l.scaledMargin(n), From: until, Until: until + gcLatest, Eligibility: &counts,
		Cost: "none for live connections: their next packet gives the time back",
	}
	return l.capped(act, l.limits.Age.Cap)
}

func (l *Census) previewDelete(counts policy.Eligibilities) Act {
	n := counts[policy.Eligible]
	act := Act{
		Type: policy.DeleteEntries, Text: fmt.Sprintf("delete UNREPLIED idle for %s", ui.Seconds(uint32(l.limits.Delete.MinIdle/time.Second))),
		Frees: l.scale(n), Margin: l.scaledMargin(n), Eligibility: &counts,
		Cost: "the next packet of a one-way flow makes its entry anew, behind NAT perhaps with another port",
	}
	return l.capped(act, l.limits.Delete.Cap)
}

// capped applies the cap of one act: to Held, or as a remark in Cost.
func (l *Census) capped(act Act, most conntrack.Permyriad) Act {
	switch most := most.Of(l.Observation.Table.Entries); {
	case most == 0:
		act.Held = policy.HeldNotPermitted.Sentence()
	case act.Frees == 0:
		act.Held = policy.HeldNothingEligible.Sentence()
	case act.Frees > most:
		act.Cost += fmt.Sprintf("; at most %d in one act", most)
	}
	return act
}

// scale estimates for the whole table.
func (l *Census) scale(n uint64) uint64 {
	return scaleTo(&l.Census.Summary, n, l.Observation.Table.Entries)
}

func scaleTo(s *census.Summary, n, entries uint64) uint64 {
	if !s.Sampled || s.Seen == 0 || s.Seen >= entries {
		return n
	}
	return uint64(float64(n) / float64(s.Seen) * float64(entries))
}

func (l *Census) scaledMargin(n uint64) uint64 { return l.margin(n).Of(l.Observation.Table.Entries) }
