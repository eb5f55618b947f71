package policy

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// An ActionType names a kind of action.
type ActionType uint8

// The kinds of action. The zero ActionType does nothing.
const (
	NoAction ActionType = iota
	RaiseMax
	ResizeHash
	ShortenTimeout
	AgeEntries
	DeleteEntries
	RestoreTimeout
	RestoreMax
	NumActionTypes
)

var actionNames = []string{
	"none", "raise_max", "resize_hash", "shorten_timeout", "age_entries",
	"delete_entries", "restore_timeout", "restore_max",
}

// String returns the name used in the audit log.
func (t ActionType) String() string { return nameOf(actionNames, t) }

// MarshalText implements encoding.TextMarshaler.
func (t ActionType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *ActionType) UnmarshalText(text []byte) (err error) {
	*t, err = parseName[ActionType](actionNames, text, "action type")
	return err
}

// HostWide reports whether the action reaches beyond one namespace.
func (t ActionType) HostWide() bool {
	return t == RaiseMax || t == ResizeHash || t == RestoreMax
}

// Restores reports whether the action restores something.
func (t ActionType) Restores() bool { return t == RestoreTimeout || t == RestoreMax }

// A Class is the kind of entries that an action is aimed at.
type Class uint8

// The classes. The zero Class is aimed at no entries.
const (
	NoClass Class = iota
	// Unreplied entries, of any protocol.
	Unreplied
	// Closing entries: TCP in FIN_WAIT, LAST_ACK, TIME_WAIT and CLOSE.
	// CLOSE_WAIT is left out: expiring it early breaks connections behind
	// NAT whose peer has yet to close.
	Closing
	// Established entries that are idle; only where the administrator opted in.
	Established
)

var classNames = []string{"none", "unreplied", "closing", "established"}

// String returns the name used in the audit log.
func (c Class) String() string { return nameOf(classNames, c) }

// MarshalText implements encoding.TextMarshaler.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Class) UnmarshalText(text []byte) (err error) {
	*c, err = parseName[Class](classNames, text, "class")
	return err
}

// An Action is one bounded change to the kernel. It is complete: the program that
// applies it needs nothing else, and refuses it when From is no longer so.
type Action struct {
	Type ActionType `json:"type"`
	// NetNS is the namespace to act in; 0 is ctwarden's own.
	NetNS uint32 `json:"netns"`
	// Knob is the timeout to write, for ShortenTimeout and RestoreTimeout.
	Knob conntrack.Timeout `json:"knob,omitzero"`
	// From is the value that the action was planned for, and To the one to
	// write: entries for max, buckets for the hash, seconds for a timeout.
	// For entries, From is the size of the table, and To what would be left
	// if everything that the cap permits were deleted.
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	// Class, MinIdle, Cap and Remaining bound an action on entries: which,
	// idle for how long at least (SynSentIdle for TCP in SYN_SENT), how many
	// at most, and (ageing) the seconds that are left to each afterwards.
	Class       Class         `json:"class,omitzero"`
	MinIdle     time.Duration `json:"min_idle_ns,omitempty"`
	SynSentIdle time.Duration `json:"syn_sent_idle_ns,omitempty"`
	Cap         uint64        `json:"cap,omitempty"`
	Remaining   uint32        `json:"remaining_s,omitempty"`
	// Reason is why the action was chosen.
	Reason Reason `json:"reason"`
	// Would marks an action that is planned and not carried out.
	Would bool `json:"would,omitempty"`
}

// Sysctl returns the name of the sysctl that the action writes, below
// net.netfilter; "" for one on entries.
func (act *Action) Sysctl() string {
	switch act.Type {
	case RaiseMax, RestoreMax:
		return conntrack.SysctlMax
	case ResizeHash:
		return conntrack.SysctlBuckets
	case ShortenTimeout, RestoreTimeout:
		return act.Knob.Sysctl()
	}
	return ""
}

// An Outcome is the kernel's result of one Action.
type Outcome struct {
	Action Action `json:"action"`
	// OK is true when the kernel value is as planned (or, for entries, when the
	// run ended by itself). Error describes the failure otherwise.
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	// Before and After are the value read before and read back after.
	Before uint64 `json:"before"`
	After  uint64 `json:"after"`
	// Changed counts the entries deleted or aged, Gone those that had
	// already gone when their turn came, Examined those examined.
	Changed  uint64 `json:"changed,omitempty"`
	Gone     uint64 `json:"gone,omitempty"`
	Examined uint64 `json:"examined,omitempty"`
	// ChangedExternally is true when the value was no longer the one planned
	// for: nothing was written.
	ChangedExternally bool `json:"foreign,omitempty"`
	// Note is what a person should know although it went as planned.
	Note string `json:"note,omitempty"`
	// Entries describes the examined entries; nil for other acts.
	Entries *Entries `json:"entries,omitempty"`
	// Took is how long it took.
	Took time.Duration `json:"took_ns"`
}

// A Reason is why an action was chosen.
type Reason uint8

// The reasons.
const (
	NoReason Reason = iota
	// ReasonFullSoon: at the present rate the table is full soon.
	ReasonFullSoon
	// ReasonFill: the table is nearly full.
	ReasonFill
	// ReasonDropping: packets are being dropped, or entries early dropped.
	ReasonDropping
	// ReasonChurn: connections that are closing fill the table.
	ReasonChurn
	// ReasonHalfOpen: unanswered connections fill the table.
	ReasonHalfOpen
	// ReasonStale: connections idle for more than a day fill the table.
	ReasonStale
	// ReasonBudgetNeedsBuckets: the budget permits more entries than the
	// buckets carry at max/buckets of 4.
	ReasonBudgetNeedsBuckets
	// ReasonLongChains: the kernel refuses entries because chains are too long.
	ReasonLongChains
	// ReasonCalm: the load has passed, so what was taken is restored.
	ReasonCalm
	// ReasonRequested: an administrator requested it.
	ReasonRequested
)

var reasonNames = []string{
	"none", "full_soon", "nearly_full", "dropping", "churn", "half_open",
	"stale", "budget_needs_buckets", "long_chains", "calm", "asked",
}

// String returns the name used in the audit log.
func (r Reason) String() string { return nameOf(reasonNames, r) }

// MarshalText implements encoding.TextMarshaler.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Reason) UnmarshalText(text []byte) (err error) {
	*r, err = parseName[Reason](reasonNames, text, "reason")
	return err
}
