package policy

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// An Eligibility is why an examined entry may be deleted or aged, or why
// it is spared. An entry counts under the first that applies.
type Eligibility uint8

// The zero Eligibility is to be eligible.
const (
	Eligible Eligibility = iota
	// SparedReplied: a packet in the reply direction was seen.
	SparedReplied
	// SparedAssured: ASSURED, which even early drop spares.
	SparedAssured
	// SparedEstablished: TCP in ESTABLISHED or CLOSE_WAIT of which only one
	// direction is seen, as with asymmetric routing: a live connection.
	SparedEstablished
	// SparedWrongClass: not of the class that the act is aimed at.
	SparedWrongClass
	// SparedDying: it is being removed already.
	SparedDying
	// SparedExpected: made by an expectation, or part of another connection.
	SparedExpected
	// SparedHelper: a helper follows it, and expects other connections.
	SparedHelper
	// SparedFixedTimeout: its timeout is fixed by a rule.
	SparedFixedTimeout
	// SparedOffload: a flowtable or the hardware carries its packets.
	SparedOffload
	// SparedDNAT: its next packet could go to another destination.
	SparedDNAT
	// SparedProtected: the configuration protects it.
	SparedProtected
	// SparedIdleUnknown: its idle time is unknown.
	SparedIdleUnknown
	// SparedTooYoung: not idle for long enough.
	SparedTooYoung
	// SparedShort: ageing would not shorten its time.
	SparedShort
	NumEligibilities
)

var eligibilityNames = []string{
	"eligible", "replied", "assured", "established", "wrong_class", "dying", "expected", "helper",
	"fixed_timeout", "offload", "dnat", "protected", "idle_unknown", "too_young", "short",
}

// String returns the name used in the audit log.
func (f Eligibility) String() string { return nameOf(eligibilityNames, f) }

// MarshalText implements encoding.TextMarshaler.
func (f Eligibility) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Eligibility) UnmarshalText(text []byte) (err error) {
	*f, err = parseName[Eligibility](eligibilityNames, text, "eligibility")
	return err
}

// Eligibilities counts entries by their Eligibility.
type Eligibilities [NumEligibilities]uint64

// MarshalJSON writes the counts that are not 0, by name.
func (f Eligibilities) MarshalJSON() ([]byte, error) {
	counts := make(map[Eligibility]uint64, NumEligibilities)
	for e, n := range f {
		if n != 0 {
			counts[Eligibility(e)] = n
		}
	}
	return json.Marshal(counts)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (f *Eligibilities) UnmarshalJSON(text []byte) error {
	var counts map[Eligibility]uint64
	if err := json.Unmarshal(text, &counts); err != nil {
		return err
	}
	*f = Eligibilities{}
	for e, n := range counts {
		f[e] = n
	}
	return nil
}

// A Rule selects the entries that an act may touch. The count of a census, the
// prediction of diagnose, the simulator and the act itself use the same Rule.
type Rule struct {
	act     Action
	protect conntrack.Protect
	idle    conntrack.Idleness
}

// Rule returns the rule for an act on entries, which spares what is protected
// and goes by what is known of idle times. The cap of the act is no part of it.
func (act *Action) Rule(protect conntrack.Protect, idle conntrack.Idleness) *Rule {
	return &Rule{act: *act, protect: protect, idle: idle}
}

// Judge decides whether the act may touch the entry. It allocates nothing.
func (r *Rule) Judge(e *conntrack.Entry) Eligibility {
	if spared := r.spares(e); spared != Eligible {
		return spared
	}
	least := r.leastIdle(e)
	if least <= 0 {
		return Eligible
	}
	switch idle, known := r.idle.AtLeast(e); {
	case !known:
		return SparedIdleUnknown
	case idle < least:
		return SparedTooYoung
	}
	return Eligible
}

// JudgeIdle is Judge for an entry whose idle time is known exactly, as that of
// a simulated one.
func (r *Rule) JudgeIdle(e *conntrack.Entry, idle time.Duration) Eligibility {
	if spared := r.spares(e); spared != Eligible {
		return spared
	}
	if idle < r.leastIdle(e) {
		return SparedTooYoung
	}
	return Eligible
}

// leastIdle is how long an entry must have been idle; 0 where that is no matter.
func (r *Rule) leastIdle(e *conntrack.Entry) time.Duration {
	if r.act.Class == Unreplied && e.Proto == conntrack.ProtoTCP && e.State == conntrack.StateSynSent {
		return r.act.SynSentIdle
	}
	return r.act.MinIdle
}

// spares returns what else than its idle time keeps an entry from being touched.
func (r *Rule) spares(e *conntrack.Entry) Eligibility {
	if outside := r.act.Class.spares(e); outside != Eligible {
		return outside
	}
	switch {
	case e.Status&conntrack.StatusDying != 0:
		return SparedDying
	case e.HasMaster || e.Status&conntrack.StatusExpected != 0:
		return SparedExpected
	case e.HasHelper || e.Status&conntrack.StatusHelper != 0:
		return SparedHelper
	case e.Status&conntrack.StatusFixedTimeout != 0:
		return SparedFixedTimeout
	case e.Status&(conntrack.StatusOffload|conntrack.StatusHWOffload) != 0:
		return SparedOffload
	case r.act.Type == DeleteEntries && e.Status&conntrack.StatusDstNAT != 0:
		return SparedDNAT
	case r.protect.Covers(e):
		return SparedProtected
	case r.act.Type == AgeEntries && e.Timeout <= r.act.Remaining:
		return SparedShort
	}
	return Eligible
}

// spares returns why an entry is not of the class; Eligible if it is.
func (c Class) spares(e *conntrack.Entry) Eligibility {
	tcp := e.Proto == conntrack.ProtoTCP
	switch c {
	case Unreplied:
		switch {
		case e.Status&conntrack.StatusSeenReply != 0:
			return SparedReplied
		case e.Status&conntrack.StatusAssured != 0:
			return SparedAssured
		case tcp && (e.State == conntrack.StateEstablished || e.State == conntrack.StateCloseWait):
			return SparedEstablished
		}
		return Eligible
	case Closing:
		switch e.State {
		case conntrack.StateFinWait, conntrack.StateLastAck, conntrack.StateTimeWait, conntrack.StateClose:
			if tcp {
				return Eligible
			}
		}
	case Established:
		if tcp && e.State == conntrack.StateEstablished {
			return Eligible
		}
	}
	return SparedWrongClass
}

// deletion is the act that deletes unreplied entries, but for its bounds.
func (l *Limits) deletion() Action {
	return Action{
		Type: DeleteEntries, Class: Unreplied, Reason: ReasonHalfOpen,
		MinIdle: l.Delete.MinIdle, SynSentIdle: l.Delete.SynSentIdle,
	}
}

// ageing is the act that ages entries of a class, but for its bounds.
func (l *Limits) ageing(class Class) Action {
	act := Action{
		Type: AgeEntries, Class: class, Reason: ReasonChurn,
		Remaining: l.Shorten.Floors[conntrack.TCPTimeWait],
	}
	if class == Established {
		act.Reason, act.MinIdle = ReasonStale, l.Age.EstablishedFloor
	}
	return act
}

// Rules returns the rules for deleting unreplied entries and for ageing closing
// ones, in a namespace where the timeouts have stood for a while.
func (l *Limits) Rules(timeouts conntrack.Timeouts, protect conntrack.Protect) (deletion, ageing *Rule) {
	remove, age, idle := l.deletion(), l.ageing(Closing), conntrack.IdlenessOf(timeouts)
	return remove.Rule(protect, idle), age.Rule(protect, idle)
}

// Count returns what a census counts by.
func (l *Limits) Count(timeouts conntrack.Timeouts, protect conntrack.Protect) census.Count {
	deletion, ageing := l.Rules(timeouts, protect)
	return census.Count{
		Timeouts:  timeouts,
		Deletable: func(e *conntrack.Entry) bool { return deletion.Judge(e) == Eligible },
		Ageable:   func(e *conntrack.Entry) bool { return ageing.Judge(e) == Eligible },
	}
}

// Entries describes the entries that an act examined.
type Entries struct {
	Eligibility Eligibilities `json:"fates"`
	// Refused counts those that the kernel refused to change.
	Refused uint64 `json:"refused,omitempty"`
	// Samples are a few of those that were chosen.
	Samples []Sample `json:"samples,omitempty"`
}

// A Sample is one entry that was chosen, by its original direction. The
// addresses can be masked before it is recorded.
type Sample struct {
	Proto   uint8              `json:"proto"`
	State   conntrack.TCPState `json:"state,omitempty"`
	Src     netip.Addr         `json:"src"`
	Dst     netip.Addr         `json:"dst"`
	SrcPort uint16             `json:"src_port,omitempty"`
	DstPort uint16             `json:"dst_port,omitempty"`
	Zone    uint16             `json:"zone,omitempty"`
	// Left is how many seconds it had left.
	Left uint32 `json:"left_s"`
}
