package conntrack

import (
	"encoding/json"
	"fmt"
)

// A Timeout names one of the kernel's connection tracking timeouts. The zero
// Timeout names none.
type Timeout uint8

// The timeouts, in the order of the kernel's documentation.
const (
	NoTimeout Timeout = iota
	TCPSynSent
	TCPSynRecv
	TCPEstablished
	TCPFinWait
	TCPCloseWait
	TCPLastAck
	TCPTimeWait
	TCPClose
	TCPMaxRetrans
	TCPUnacknowledged
	UDP
	UDPStream
	ICMP
	ICMPv6
	Generic
	GRE
	GREStream
	NumTimeouts
)

var timeoutNames = [NumTimeouts]string{
	TCPSynSent:        "tcp_timeout_syn_sent",
	TCPSynRecv:        "tcp_timeout_syn_recv",
	TCPEstablished:    "tcp_timeout_established",
	TCPFinWait:        "tcp_timeout_fin_wait",
	TCPCloseWait:      "tcp_timeout_close_wait",
	TCPLastAck:        "tcp_timeout_last_ack",
	TCPTimeWait:       "tcp_timeout_time_wait",
	TCPClose:          "tcp_timeout_close",
	TCPMaxRetrans:     "tcp_timeout_max_retrans",
	TCPUnacknowledged: "tcp_timeout_unacknowledged",
	UDP:               "udp_timeout",
	UDPStream:         "udp_timeout_stream",
	ICMP:              "icmp_timeout",
	ICMPv6:            "icmpv6_timeout",
	Generic:           "generic_timeout",
	GRE:               "gre_timeout",
	GREStream:         "gre_timeout_stream",
}

// String returns the name without the nf_conntrack_ prefix, as in
// "tcp_timeout_time_wait"; "none" for the zero Timeout.
func (t Timeout) String() string {
	if t == NoTimeout || t >= NumTimeouts {
		return "none"
	}
	return timeoutNames[t]
}

// Sysctl returns the name of the sysctl file under net/netfilter.
func (t Timeout) Sysctl() string { return "nf_conntrack_" + t.String() }

// ParseTimeout finds a timeout by its name, with or without the
// nf_conntrack_ prefix.
func ParseTimeout(name string) (Timeout, error) {
	for t := TCPSynSent; t < NumTimeouts; t++ {
		if name == timeoutNames[t] || name == t.Sysctl() {
			return t, nil
		}
	}
	return NoTimeout, fmt.Errorf("unknown timeout %q", name)
}

// MarshalText implements encoding.TextMarshaler.
func (t Timeout) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Timeout) UnmarshalText(text []byte) error {
	if string(text) == "none" {
		*t = NoTimeout
		return nil
	}
	parsed, err := ParseTimeout(string(text))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

// Timeouts holds a value in seconds for each Timeout, indexed by it. 0 means
// that this kernel has no such timeout or that it was not read.
type Timeouts [NumTimeouts]uint32

// MarshalJSON writes the timeouts that are set, by name.
func (t Timeouts) MarshalJSON() ([]byte, error) {
	set := make(map[string]uint32, NumTimeouts)
	for i := TCPSynSent; i < NumTimeouts; i++ {
		if t[i] != 0 {
			set[i.String()] = t[i]
		}
	}
	return json.Marshal(set)
}

// UnmarshalJSON reads what MarshalJSON wrote. An unknown name is an error.
func (t *Timeouts) UnmarshalJSON(text []byte) error {
	var set map[string]uint32
	if err := json.Unmarshal(text, &set); err != nil {
		return err
	}
	*t = Timeouts{}
	for name, seconds := range set {
		i, err := ParseTimeout(name)
		if err != nil {
			return err
		}
		t[i] = seconds
	}
	return nil
}
