package policy

import (
	"encoding/json"
	"net/netip"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Fate says why an entry that was looked at may be deleted or aged, or why
// it is spared. An entry counts under the first that applies.
type Fate uint8

// The fates. The zero Fate is to be eligible.
const (
	FateEligible Fate = iota
	// FateReplied: a packet in the reply direction was seen.
	FateReplied
	// FateAssured: ASSURED, which even early drop spares.
	FateAssured
	// FateEstablished: TCP in ESTABLISHED or CLOSE_WAIT of which only one
	// direction is seen, as with asymmetric routing: a live connection.
	FateEstablished
	// FateWrongClass: not of the class that the act is aimed at.
	FateWrongClass
	// FateDying: it is being removed already.
	FateDying
	// FateExpected: made by an expectation, or part of another connection.
	FateExpected
	// FateHelper: a helper follows it, and expects other connections.
	FateHelper
	// FateFixedTimeout: its timeout is fixed by a rule.
	FateFixedTimeout
	// FateOffload: a flowtable or the hardware carries its packets.
	FateOffload
	// FateDNAT: its next packet could go to another destination.
	FateDNAT
	// FateProtected: the configuration protects it.
	FateProtected
	// FateIdleUnknown: how long it has been idle can't be told.
	FateIdleUnknown
	// FateTooYoung: not idle for long enough.
	FateTooYoung
	// FateShort: ageing would not shorten its time.
	FateShort
	NumFates
)

var fateNames = []string{
	"eligible", "replied", "assured", "established", "wrong_class", "dying", "expected", "helper",
	"fixed_timeout", "offload", "dnat", "protected", "idle_unknown", "too_young", "short",
}

// String returns the name used in the audit log.
func (f Fate) String() string { return nameOf(fateNames, f) }

// MarshalText implements encoding.TextMarshaler.
func (f Fate) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Fate) UnmarshalText(text []byte) (err error) {
	*f, err = parseName[Fate](fateNames, text, "fate")
	return err
}

// Fates counts entries by their Fate.
type Fates [NumFates]uint64

// MarshalJSON writes the counts that are not 0, by name.
func (f Fates) MarshalJSON() ([]byte, error) {
	counts := make(map[Fate]uint64, NumFates)
	for fate, n := range f {
		if n != 0 {
			counts[Fate(fate)] = n
		}
	}
	return json.Marshal(counts)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (f *Fates) UnmarshalJSON(text []byte) error {
	var counts map[Fate]uint64
	if err := json.Unmarshal(text, &counts); err != nil {
		return err
	}
	*f = Fates{}
	for fate, n := range counts {
		f[fate] = n
	}
	return nil
}

// Entries tells of the entries that an act on them looked at.
type Entries struct {
	Fates Fates `json:"fates"`
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
