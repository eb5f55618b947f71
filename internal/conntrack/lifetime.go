package conntrack

var tcpTimeouts = [NumTCPStates]Timeout{
	StateNone:        NoTimeout,
	StateSynSent:     TCPSynSent,
	StateSynRecv:     TCPSynRecv,
	StateEstablished: TCPEstablished,
	StateFinWait:     TCPFinWait,
	StateCloseWait:   TCPCloseWait,
	StateLastAck:     TCPLastAck,
	StateTimeWait:    TCPTimeWait,
	StateClose:       TCPClose,
	StateSynSent2:    TCPSynSent,
}

// LivesBy returns the timeout that the kernel gives the entry at a packet in
// its present state; NoTimeout where ctwarden knows none (SCTP, DCCP), or where
// the entry keeps another time: offloaded ones, and those with a fixed timeout.
// TCP can be given less, when a connection retransmits or waits for an
// acknowledgement (nf_conntrack_tcp_packet).
func (e *Entry) LivesBy() Timeout {
	if e.Status&(StatusFixedTimeout|StatusOffload|StatusHWOffload) != 0 {
		return NoTimeout
	}
	switch e.Proto {
	case ProtoTCP:
		if e.State >= NumTCPStates {
			return NoTimeout
		}
		return tcpTimeouts[e.State]
	case ProtoUDP, ProtoUDPLite:
		// A stream is an entry that is ASSURED; before Linux 5.4 one that got
		// a reply, too (nf_conntrack_udp_packet).
		if e.Status&StatusAssured != 0 {
			return UDPStream
		}
		return UDP
	case ProtoICMP:
		return ICMP
	case ProtoICMPv6:
		return ICMPv6
	case ProtoGRE:
		if e.Status&StatusSeenReply != 0 {
			return GREStream
		}
		return GRE
	case ProtoSCTP, ProtoDCCP:
		return NoTimeout
	}
	return Generic
}
