package census

import (
	"encoding/json"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Make counts the kinds of entries that a table holds. An entry stands in each
// count that it fits. The zero Make is that of an empty table.
type Make struct {
	IPv4      uint64    `json:"ipv4"`
	IPv6      uint64    `json:"ipv6"`
	Protocols Protocols `json:"protocols"`
	States    States    `json:"tcp_states"`
	// SrcNAT and DstNAT have their source or destination translated.
	SrcNAT uint64 `json:"src_nat"`
	DstNAT uint64 `json:"dst_nat"`
	// Offload entries are carried by a flowtable, HWOffload by the hardware.
	Offload   uint64 `json:"offload"`
	HWOffload uint64 `json:"hw_offload"`
	// Expected were made by an expectation, Helper are followed by one.
	Expected uint64 `json:"expected"`
	Helper   uint64 `json:"helper"`
	// Remaining is the time that is left, unknown for offloaded entries. Idle
	// is how long ago the last packet was, if the timeout that it gave is the
	// one of the Count.
	Remaining Histogram `json:"remaining"`
	Idle      Histogram `json:"idle"`
}

// Protocols counts entries by IP protocol number.
type Protocols [256]Protocol

// A Protocol counts the entries of one protocol.
type Protocol struct {
	Entries   uint64 `json:"entries"`
	Unreplied uint64 `json:"unreplied"`
	Assured   uint64 `json:"assured"`
}

// States counts TCP entries by state.
type States [conntrack.NumTCPStates]uint64

func (m *Make) add(e *conntrack.Entry) {
	if e.Family == conntrack.IPv6 {
		m.IPv6++
	} else {
		m.IPv4++
	}
	p := &m.Protocols[e.Proto]
	p.Entries++
	p.Unreplied += one(e.Status.Unreplied())
	p.Assured += one(e.Status.Has(conntrack.StatusAssured))
	if e.Proto == conntrack.ProtoTCP && e.State < conntrack.NumTCPStates {
		m.States[e.State]++
	}
	m.SrcNAT += one(e.Status.Has(conntrack.StatusSrcNAT))
	m.DstNAT += one(e.Status.Has(conntrack.StatusDstNAT))
	m.Offload += one(e.Status.Has(conntrack.StatusOffload))
	m.HWOffload += one(e.Status.Has(conntrack.StatusHWOffload))
	m.Expected += one(e.HasMaster || e.Status.Has(conntrack.StatusExpected))
	m.Helper += one(e.HasHelper || e.Status.Has(conntrack.StatusHelper))
	if e.Status&(conntrack.StatusOffload|conntrack.StatusHWOffload) != 0 {
		m.Remaining.AddUnknown()
	} else {
		m.Remaining.Add(e.Timeout)
	}
}

func one(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// MarshalJSON writes the protocols that have entries, by name.
func (p Protocols) MarshalJSON() ([]byte, error) {
	set := map[string]Protocol{}
	for number, c := range p {
		if c.Entries > 0 {
			set[conntrack.ProtoName(uint8(number))] = c
		}
	}
	return json.Marshal(set)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *Protocols) UnmarshalJSON(text []byte) error {
	var set map[string]Protocol
	if err := json.Unmarshal(text, &set); err != nil {
		return err
	}
	*p = Protocols{}
	for name, c := range set {
		number, err := conntrack.ParseProto(name)
		if err != nil {
			return err
		}
		p[number] = c
	}
	return nil
}

// MarshalJSON writes the states that have entries, by name.
func (s States) MarshalJSON() ([]byte, error) {
	set := map[string]uint64{}
	for state, n := range s {
		if n > 0 {
			set[conntrack.TCPState(state).String()] = n
		}
	}
	return json.Marshal(set)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *States) UnmarshalJSON(text []byte) error {
	var set map[string]uint64
	if err := json.Unmarshal(text, &set); err != nil {
		return err
	}
	*s = States{}
	for name, n := range set {
		state, err := conntrack.ParseTCPState(name)
		if err != nil {
			return err
		}
		s[state] = n
	}
	return nil
}
