package conntrack

import "net/netip"

// A Status is the kernel's IPS_ bits of an entry. See
// include/uapi/linux/netfilter/nf_conntrack_common.h.
type Status uint32

// The bits that ctwarden reads.
const (
	StatusExpected     Status = 1 << 0  // IPS_EXPECTED
	StatusSeenReply    Status = 1 << 1  // IPS_SEEN_REPLY; an entry without it is unreplied
	StatusAssured      Status = 1 << 2  // IPS_ASSURED: early drop spares it
	StatusConfirmed    Status = 1 << 3  // IPS_CONFIRMED: it is in the table
	StatusSrcNAT       Status = 1 << 4  // IPS_SRC_NAT
	StatusDstNAT       Status = 1 << 5  // IPS_DST_NAT
	StatusDying        Status = 1 << 9  // IPS_DYING
	StatusFixedTimeout Status = 1 << 10 // IPS_FIXED_TIMEOUT
	StatusHelper       Status = 1 << 13 // IPS_HELPER
	StatusOffload      Status = 1 << 14 // IPS_OFFLOAD
	StatusHWOffload    Status = 1 << 15 // IPS_HW_OFFLOAD
)

// A TCPState is the kernel's state of a TCP entry, in the order of enum
// tcp_conntrack. The zero TCPState is NONE: not TCP, or not known.
type TCPState uint8

// The TCP states.
const (
	StateNone TCPState = iota
	StateSynSent
	StateSynRecv
	StateEstablished
	StateFinWait
	StateCloseWait
	StateLastAck
	StateTimeWait
	StateClose
	StateSynSent2
	NumTCPStates
)

// A Tuple is one direction of an entry. Ports are 0 for protocols without
// ports; ICMP and ICMPv6 have ID, Type and Code; GRE keys stand in the ports.
type Tuple struct {
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	ICMPID           uint16
	ICMPType         uint8
	ICMPCode         uint8
}

// The address families of an entry: AF_INET and AF_INET6.
const (
	IPv4 uint8 = 2
	IPv6 uint8 = 10
)

// An Entry is one tracked connection.
type Entry struct {
	Orig, Reply Tuple
	Family      uint8  // IPv4 or IPv6
	Proto       uint8  // IP protocol number
	Zone        uint16 // 0 is the default zone
	Status      Status
	State       TCPState
	Timeout     uint32 // remaining seconds; 0 for offloaded entries, whose dump has none
	Mark        uint32
	ID          uint32 // CTA_ID: opaque, protects a delete from a tuple that was used again
	HasHelper   bool
	HasMaster   bool   // made by an expectation
	Start       uint64 // nanoseconds since 1970 with nf_conntrack_timestamp=1, else 0
}
