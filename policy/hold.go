package policy

// A Hold is why nothing is done.
type Hold uint8

// The holds. The zero Hold holds nothing: the Plan acts.
const (
	NotHeld Hold = iota
	// HeldOff: the limits permit nothing.
	HeldOff
	// HeldPaused: an administrator paused ctwarden.
	HeldPaused
	// HeldNoTable: nf_conntrack is not loaded.
	HeldNoTable
	// HeldUnlimited: max is 0, so that the table can't be full.
	HeldUnlimited
	// HeldCalm: there is nothing to do.
	HeldCalm
	// HeldEnough: the level is not calm yet, but the headroom is enough.
	HeldEnough
	// HeldFalling: the table is near its limit and emptying by itself.
	HeldFalling
	// HeldBreaker: paused by the safety limit: too many actions within an hour.
	HeldBreaker
	// HeldAwaiting: an act was made and its effect is not known yet.
	HeldAwaiting
	// HeldBudget: max is as high as the memory budget or the ceiling permits.
	HeldBudget
	// HeldPressure: the host is short of memory now.
	HeldPressure
	// HeldMemoryUnknown: the host's memory could not be read.
	HeldMemoryUnknown
	// HeldYielded: another program wrote this value; it is left alone.
	HeldYielded
	// HeldReadOnly: not writable here (run: ctwarden doctor).
	HeldReadOnly
	// HeldFloor: the timeouts of the cause are at their floors already.
	HeldFloor
	// HeldNothingEligible: no entries, or too few, may be deleted or aged.
	HeldNothingEligible
	// HeldNotPermitted: the configuration forbids what would come next.
	HeldNotPermitted
	// HeldBanned: what would come next had no effect twice in this incident.
	HeldBanned
	// HeldDone: each remedy for this cause has been used once.
	HeldDone
	// HeldStall: resizing the hash would stall packets for too long.
	HeldStall
	// HeldTooSoon: the hash was resized not long ago.
	HeldTooSoon
	// HeldInsertFailed: entries clash (NAT out of ports, or a race); a
	// larger table does not help.
	HeldInsertFailed
	// HeldLongChains: chains are too long and the hash can't be resized now.
	HeldLongChains
	// HeldNoMemory: the kernel can't allocate entries; a larger table makes
	// it worse.
	HeldNoMemory
	// HeldElsewhere: the table of another namespace is full.
	HeldElsewhere
	// HeldWouldRefill: giving a timeout back would fill the table again.
	HeldWouldRefill
	// HeldNoAudit: the intent could not be recorded anywhere. No audit, no
	// action.
	HeldNoAudit
)

var holdNames = []string{
	"", "off", "paused", "no_table", "unlimited", "calm", "enough", "falling",
	"breaker", "awaiting_effect", "budget", "memory_pressure", "memory_unknown",
	"yielded", "read_only", "floor", "nothing_eligible", "not_permitted",
	"banned", "ladder_done", "stall", "too_soon", "insert_failed",
	"long_chains", "no_memory", "elsewhere", "would_refill", "no_audit",
}

// String returns the name used in the audit log; "" for NotHeld.
func (h Hold) String() string { return nameOf(holdNames, h) }

// MarshalText implements encoding.TextMarshaler.
func (h Hold) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hold) UnmarshalText(text []byte) (err error) {
	*h, err = parseName[Hold](holdNames, text, "hold")
	return err
}

// Quiet reports whether the hold is an ordinary state of a healthy host, not
// worth a record of its own.
func (h Hold) Quiet() bool {
	return h == NotHeld || h == HeldCalm || h == HeldEnough || h == HeldAwaiting
}
