package conntrack

// DefaultTimeouts returns what a kernel starts with: the arrays of defaults in
// net/netfilter/nf_conntrack_proto_*.c, unchanged since Linux 4.19 but for
// udp_timeout_stream, which was 180 before Linux 5.4.
func DefaultTimeouts() Timeouts {
	return Timeouts{
		TCPSynSent: 120, TCPSynRecv: 60, TCPEstablished: 432000, TCPFinWait: 120,
		TCPCloseWait: 60, TCPLastAck: 30, TCPTimeWait: 120, TCPClose: 10,
		TCPMaxRetrans: 300, TCPUnacknowledged: 300,
		UDP: 30, UDPStream: 120, ICMP: 30, ICMPv6: 30, Generic: 600,
		GRE: 30, GREStream: 180,
	}
}
