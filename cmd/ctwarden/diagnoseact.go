package main

import (
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/nfct"
	"github.com/ctwarden/ctwarden/policy"
)

// A foreseen act is one that ctwarden could make.
type foreseen struct {
	Type policy.ActionType `json:"type"`
	// Act says it in words.
	Act string `json:"act"`
	// Frees is how many entries it frees, or (Room) for how many more it
	// makes room; Margin by how much that may be off, 95 times in 100.
	Frees  uint64 `json:"frees"`
	Margin uint64 `json:"margin"`
	Room   bool   `json:"room,omitempty"`
	// From and Until are when the first entries are freed and when all are.
	From  time.Duration `json:"from_ns"`
	Until time.Duration `json:"until_ns"`
	// Cost says what it costs, Bytes how much memory.
	Cost  string `json:"cost"`
	Bytes uint64 `json:"bytes,omitempty"`
	// Fates says of the entries looked at which the act would touch, and why
	// not the others.
	Fates *policy.Fates `json:"fates,omitempty"`
	// Held says why ctwarden would not make it.
	Held string `json:"held,omitempty"`
}

// A forecast of when the kernel removes what has expired: its gc comes by
// every minute at the latest (GC_SCAN_INTERVAL_MAX in
// net/netfilter/nf_conntrack_core.c), and lookups remove what they meet.
const gcLatest = time.Minute

// foresee lists the acts in the order of the policy's ladders, the mildest
// first. Those that could free nothing are left out, but for the first.
func (d *doctor) foresee(a *policy.Assessment) []foreseen {
	acts := []foreseen{}
	if d.from == fromKernel {
		acts = append(acts, d.foreseeRaise(a))
	}
	if act, ok := d.foreseeResize(a); ok {
		acts = append(acts, act)
	}
	for t, short := range d.shorter {
		if short != 0 && d.census.Summary.Share(d.outlived[t]) >= d.limits.Verify.Useful {
			acts = append(acts, d.foreseeShorten(nfct.Timeout(t), short))
		}
	}
	aged, deleted := d.age.Entries().Fates, d.remove.Entries().Fates
	if aged[policy.FateEligible] > 0 {
		acts = append(acts, d.foreseeAge(aged))
	}
	if d.census.Summary.Unreplied > 0 {
		acts = append(acts, d.foreseeDelete(deleted))
	}
	return acts
}

func (d *doctor) foreseeRaise(a *policy.Assessment) foreseen {
	t := &d.o.Table
	act := foreseen{Type: policy.RaiseMax, Room: true}
	to := min(t.Max+d.limits.Raise.MaxStep.Of(t.Max), a.Budget.Max)
	switch {
	case t.Max == 0:
		act.Act, act.Held = "raise nf_conntrack_max", policy.HeldUnlimited.Sentence()
	case a.Budget.Hold != policy.NotHeld:
		act.Act, act.Held = "raise nf_conntrack_max", a.Budget.Hold.Sentence()
	case to <= t.Max:
		act.Act, act.Held = "raise nf_conntrack_max", policy.HeldBudget.Sentence()
	default:
		act.Act = fmt.Sprintf("raise nf_conntrack_max %d -> %d", t.Max, to)
		act.Frees = to - t.Max
		act.Bytes = act.Frees * a.Budget.PerEntry
	}
	act.Cost = fmt.Sprintf("%d MiB when it fills; the budget is %d MiB, or %d entries", act.Bytes>>20, a.Budget.Bytes>>20, a.Budget.Max)
	return act
}

func (d *doctor) foreseeResize(a *policy.Assessment) (foreseen, bool) {
	t, l := &d.o.Table, &d.limits.Hash
	if l.MaxRatio == 0 || t.Buckets == 0 || t.Max <= l.MaxRatio*t.Buckets || a.Budget.Buckets <= t.Buckets {
		return foreseen{}, false
	}
	stall := time.Duration(t.Entries) * l.StallPerEntry
	act := foreseen{
		Type: policy.ResizeHash, Act: fmt.Sprintf("resize the hash %d -> %d", t.Buckets, a.Budget.Buckets),
		Bytes: (a.Budget.Buckets - t.Buckets) * 8,
		Cost:  fmt.Sprintf("%d MiB, and packets stand still for about %s", (a.Budget.Buckets-t.Buckets)*8>>20, stall.Round(time.Millisecond)),
	}
	if stall > l.MaxStall {
		act.Held = policy.HeldStall.Sentence()
	}
	return act, true
}

// foreseeShorten counts the entries that the shorter timeout would have ended
// by now: so many fewer there are once it has worked. It works on what the
// kernel gives from now on, so the first effect comes when the shorter time is
// over, and the last when the longer one is.
func (d *doctor) foreseeShorten(t nfct.Timeout, to uint32) foreseen {
	from := d.o.Timeouts[t]
	return foreseen{
		Type:  policy.ShortenTimeout,
		Act:   fmt.Sprintf("shorten %s %d s -> %d s", t, from, to),
		Frees: d.scale(d.outlived[t]), Margin: d.scaledMargin(d.outlived[t]),
		From: time.Duration(to) * time.Second, Until: time.Duration(from) * time.Second,
		Cost: costOfShorter(t),
	}
}

func costOfShorter(t nfct.Timeout) string {
	switch t {
	case nfct.TCPTimeWait, nfct.TCPFinWait, nfct.TCPLastAck, nfct.TCPClose:
		return "packets of an old connection that come later are not known any more"
	case nfct.UDP:
		return "an answer that takes longer is not let in"
	}
	return "a handshake that takes longer starts again"
}

func (d *doctor) foreseeAge(fates policy.Fates) foreseen {
	left := d.limits.Shorten.Floors[nfct.TCPTimeWait]
	until := time.Duration(left) * time.Second
	n := fates[policy.FateEligible]
	act := foreseen{
		Type: policy.AgeEntries, Act: fmt.Sprintf("age closing entries to %d s", left),
		Frees: d.scale(n), Margin: d.scaledMargin(n), From: until, Until: until + gcLatest, Fates: &fates,
		Cost: "none for live connections: their next packet gives the time back",
	}
	return d.capped(act, d.limits.Age.Cap)
}

func (d *doctor) foreseeDelete(fates policy.Fates) foreseen {
	n := fates[policy.FateEligible]
	act := foreseen{
		Type: policy.DeleteEntries, Act: fmt.Sprintf("delete UNREPLIED idle for %s", seconds(uint32(d.limits.Delete.MinIdle/time.Second))),
		Frees: d.scale(n), Margin: d.scaledMargin(n), Fates: &fates,
		Cost: "the next packet of a one-way flow makes its entry anew, behind NAT perhaps with another port",
	}
	return d.capped(act, d.limits.Delete.Cap)
}

// capped says what the cap of one act means.
func (d *doctor) capped(act foreseen, most nfct.Permyriad) foreseen {
	switch most := most.Of(d.o.Table.Entries); {
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
func (d *doctor) scale(n uint64) uint64 {
	return scaleTo(&d.census.Summary, n, d.o.Table.Entries)
}

func scaleTo(s *census.Summary, n, entries uint64) uint64 {
	if !s.Sampled || s.Seen == 0 || s.Seen >= entries {
		return n
	}
	return uint64(float64(n) / float64(s.Seen) * float64(entries))
}

func (d *doctor) scaledMargin(n uint64) uint64 { return d.margin(n).Of(d.o.Table.Entries) }
