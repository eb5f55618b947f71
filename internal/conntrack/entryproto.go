package conntrack

import (
	"fmt"
	"strconv"
)

// The IP protocols that the kernel tracks by more than their addresses.
// DCCP went in Linux 6.17, UDP-Lite in 7.3; others are "generic" entries.
const (
	ProtoICMP    uint8 = 1
	ProtoTCP     uint8 = 6
	ProtoUDP     uint8 = 17
	ProtoDCCP    uint8 = 33
	ProtoGRE     uint8 = 47
	ProtoICMPv6  uint8 = 58
	ProtoSCTP    uint8 = 132
	ProtoUDPLite uint8 = 136
)

// ProtoName is the name that /proc/net/nf_conntrack prints, and the number of
// a protocol that is "unknown" there.
func ProtoName(proto uint8) string {
	switch proto {
	case ProtoICMP:
		return "icmp"
	case ProtoTCP:
		return "tcp"
	case ProtoUDP:
		return "udp"
	case ProtoDCCP:
		return "dccp"
	case ProtoGRE:
		return "gre"
	case ProtoICMPv6:
		return "icmpv6"
	case ProtoSCTP:
		return "sctp"
	case ProtoUDPLite:
		return "udplite"
	}
	return strconv.Itoa(int(proto))
}

// ParseProto reads a name of ProtoName or a number from 0 to 255.
func ParseProto(name string) (uint8, error) {
	for _, proto := range [...]uint8{ProtoICMP, ProtoTCP, ProtoUDP, ProtoDCCP, ProtoGRE, ProtoICMPv6, ProtoSCTP, ProtoUDPLite} {
		if name == ProtoName(proto) {
			return proto, nil
		}
	}
	n, err := strconv.ParseUint(name, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("unknown protocol %q", name)
	}
	return uint8(n), nil
}
