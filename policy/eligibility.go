package policy

import (
	"encoding/json"
	"net/netip"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Eligibility says why an entry that was looked at may be deleted or aged, or why
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
	// SparedIdleUnknown: how long it has been idle can't be told.
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

// Entries tells of the entries that an act on them looked at.
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
