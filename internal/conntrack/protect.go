package conntrack

import (
	"net/netip"
	"slices"
)

// Protect lists entries that are never deleted and never aged. An entry is
// protected if any of it matches; the zero Protect protects none.
type Protect struct {
	// Networks match the source or destination of either direction.
	Networks []netip.Prefix
	// Ports match the source or destination port of either direction, of
	// protocols that have ports.
	Ports []PortRange
	Marks []Mark
	Zones []uint16
}

// A PortRange holds the ports from First to Last, both included.
type PortRange struct{ First, Last uint16 }

// A Mark matches entries whose mark, under Mask, is Value. With Mask 0 and
// Value 0 it matches every entry.
type Mark struct{ Value, Mask uint32 }

// Covers reports whether the entry is protected.
func (p *Protect) Covers(e *Entry) bool {
	for i := range p.Networks {
		c := &p.Networks[i]
		if c.Contains(e.Orig.Src) || c.Contains(e.Orig.Dst) || c.Contains(e.Reply.Src) || c.Contains(e.Reply.Dst) {
			return true
		}
	}
	if HasPorts(e.Proto) {
		for _, r := range p.Ports {
			if r.holds(&e.Orig) || r.holds(&e.Reply) {
				return true
			}
		}
	}
	for _, m := range p.Marks {
		if e.Mark&m.Mask == m.Value {
			return true
		}
	}
	return slices.Contains(p.Zones, e.Zone)
}

func (r PortRange) holds(t *Tuple) bool {
	return r.First <= t.SrcPort && t.SrcPort <= r.Last || r.First <= t.DstPort && t.DstPort <= r.Last
}

// HasPorts distinguishes ports from the keys of GRE, which stand in the same place.
func HasPorts(proto uint8) bool {
	switch proto {
	case ProtoTCP, ProtoUDP, ProtoDCCP, ProtoSCTP, ProtoUDPLite:
		return true
	}
	return false
}
