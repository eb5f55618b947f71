package tablesim

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// The cost of an action on a real kernel, per entry: a resize by the measure of
// policy.HashLimits, a dump, and a batched delete or update.
const (
	resizeCost = 302 * time.Nanosecond
	dumpCost   = 1720 * time.Nanosecond
	writeCost  = 1600 * time.Nanosecond
	sysctlCost = 20 * time.Microsecond
)

// Apply carries out the action, as the package remediate does: it refuses a
// value that is no longer the one planned for, and keeps to the action's cap.
// An action that is only planned changes nothing.
func (h *Host) Apply(act policy.Action) policy.Outcome {
	out := policy.Outcome{Action: act, Took: sysctlCost}
	t := &h.tables[0]
	switch {
	case act.Would:
		out.OK, out.Before, out.After, out.Took = true, act.From, act.From, 0
		return out
	case h.absent:
		out.Error = "no such file or directory"
		return out
	}
	switch act.Type {
	case policy.RaiseMax, policy.RestoreMax:
		return h.write(out, &h.max, PartMax)
	case policy.ResizeHash:
		out.Took = time.Duration(h.entries()) * resizeCost
		h.worstStall = max(h.worstStall, out.Took)
		out = h.write(out, &h.buckets, PartBuckets)
		h.buckets = conntrack.RoundBuckets(h.buckets)
		out.After = h.buckets
		return out
	case policy.ShortenTimeout, policy.RestoreTimeout:
		value := uint64(t.timeouts[act.Knob])
		out = h.write(out, &value, PartTimeouts)
		t.timeouts[act.Knob] = uint32(value)
		return out
	case policy.AgeEntries, policy.DeleteEntries:
		return h.changeEntries(t, out)
	}
	out.Error = "unknown action " + act.Type.String()
	return out
}

// write compares and sets.
func (h *Host) write(out policy.Outcome, value *uint64, p Part) policy.Outcome {
	out.Before, out.After = *value, *value
	switch {
	case h.machine.ReadOnly.Has(p), p == PartBuckets && !h.machine.Kernel.resizes():
		out.Error = "permission denied"
	case *value != out.Action.From:
		out.ChangedExternally, out.Error = true, "not the value that was planned for"
	default:
		*value = out.Action.To
		out.After, out.OK = *value, true
	}
	return out
}

// changeEntries deletes or ages entries.
func (h *Host) changeEntries(t *table, out policy.Outcome) policy.Outcome {
	act := &out.Action
	out.Before = t.entries()
	out.After = out.Before
	if h.machine.ReadOnly.Has(PartEntries) {
		out.Error = "operation not permitted"
		return out
	}
	out.OK = true
	out.Examined = out.Before - t.expired
	// The dump frees what has expired.
	t.expired = 0
	eligible := h.eligible(act.Rule(conntrack.Protect{}, conntrack.IdlenessOf(t.timeouts)))
	if act.Type == policy.DeleteEntries {
		out.Changed = t.remove(eligible, act.Cap, nil)
	} else {
		out.Changed = h.age(t, eligible, act)
	}
	out.After = t.entries()
	out.Took = time.Duration(out.Examined)*dumpCost + time.Duration(out.Changed)*writeCost
	return out
}

// age leaves the remaining seconds to the entries that are meant. They stay as
// idle as they were: only a packet would renew them, and none comes.
func (h *Host) age(t *table, m selector, act *policy.Action) uint64 {
	var aged [numKinds]uint64
	n := t.remove(m, act.Cap, func(k kind, n uint64) { aged[k] += n })
	left := time.Duration(act.Remaining) * time.Second
	for k, count := range aged {
		if count == 0 {
			continue
		}
		t.counts[k] += count
		t.queue(kind(k), false, left).insert(cohort{
			n: count, last: h.clock - act.MinIdle, expires: h.clock + left,
		})
	}
	return n
}

// Set writes a value as an administrator or another program would.
func (h *Host) Set(k Knob, value uint64) {
	switch k.Part {
	case PartMax:
		h.max = value
	case PartBuckets:
		h.buckets = conntrack.RoundBuckets(max(value, 1))
	case PartTimeouts:
		h.tables[0].timeouts[k.Timeout] = uint32(value)
	}
}

// Get reads a value.
func (h *Host) Get(k Knob) uint64 {
	switch k.Part {
	case PartMax:
		return h.max
	case PartBuckets:
		return h.buckets
	case PartTimeouts:
		return uint64(h.tables[0].timeouts[k.Timeout])
	}
	return 0
}

// A Knob names a value of the host's own namespace.
type Knob struct {
	Part    Part              `json:"part"`
	Timeout conntrack.Timeout `json:"timeout,omitzero"`
}

// String returns the name used in scenarios.
func (k Knob) String() string {
	if k.Part == PartTimeouts {
		return k.Timeout.String()
	}
	return k.Part.String()
}
