package tablesim

import (
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Class is a kind of connection that arrives. The zero Class is none.
type Class uint8

// The classes.
const (
	NoClass Class = iota
	// UDPUnreplied: one UDP packet without a reply (scans, floods, syslog).
	UDPUnreplied
	// UDPReplied: a UDP exchange that goes on for its duration and then
	// lingers for udp_timeout_stream. ASSURED (from its third second on a
	// real kernel, at once here).
	UDPReplied
	// DNS: one query and one reply. Never ASSURED on Linux 5.4 and later.
	DNS
	// Syn: TCP that stays in SYN_SENT. A retransmitted SYN does not renew it.
	Syn
	// SynRecv: TCP that got a reply and never completed (a SYN flood at the
	// flooded server).
	SynRecv
	// TCPShort: TCP that closes soon and lingers in TIME_WAIT, ASSURED.
	TCPShort
	// TCP: a long-lived connection with traffic; it closes like TCPShort.
	TCP
	// TCPIdle: TCP that is established and then silent for ever.
	TCPIdle
	// Clash: a packet whose entry can't be inserted, because NAT ran out of
	// ports or lost a race. It takes no room.
	Clash
	numClasses
)

var classNames = [numClasses]string{
	"none", "udp_unreplied", "udp_replied", "dns", "syn", "syn_recv",
	"tcp_short", "tcp", "tcp_idle", "clash",
}

// String returns the name used in scenarios.
func (c Class) String() string {
	if c < numClasses {
		return classNames[c]
	}
	return fmt.Sprintf("invalid(%d)", uint8(c))
}

// MarshalText implements encoding.TextMarshaler.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Class) UnmarshalText(text []byte) error {
	for i := UDPUnreplied; i < numClasses; i++ {
		if classNames[i] == string(text) {
			*c = i
			return nil
		}
	}
	return fmt.Errorf("unknown class %q", text)
}

// Duration is how long a connection of the class has traffic unless the scenario
// sets it; 0 for a class that has none after its first packets.
func (c Class) Duration() time.Duration {
	switch c {
	case UDPReplied:
		return 30 * time.Second
	case TCPShort:
		return 200 * time.Millisecond
	case TCP:
		return 10 * time.Minute
	}
	return 0
}

// lookups is for how many packets of a connection of the class the kernel searches
// the hash, about: the packets of its begin and, for TCP, of its end.
func (c Class) lookups() uint64 {
	switch c {
	case UDPUnreplied, Syn, Clash:
		return 1
	case DNS, SynRecv:
		return 2
	case TCPShort, TCP:
		return 8
	}
	return 3
}

// firstKind is the kind of entry that a connection of the class makes.
func (c Class) firstKind() kind {
	switch c {
	case UDPUnreplied:
		return udpUnreplied
	case UDPReplied:
		return udpStream
	case DNS:
		return udpReplied
	case Syn:
		return synSent
	case SynRecv:
		return synRecv
	case TCPShort, TCP, TCPIdle:
		return established
	}
	return noKind
}

// A kind is what an entry is: protocol, state and status in one.
type kind uint8

const (
	noKind kind = iota
	udpUnreplied
	udpReplied
	udpStream
	synSent
	synRecv
	established
	timeWait
	numKinds
)

// timeout is the one that an entry of the kind has after its last packet.
func (k kind) timeout() conntrack.Timeout {
	switch k {
	case udpUnreplied, udpReplied:
		return conntrack.UDP
	case udpStream:
		return conntrack.UDPStream
	case synSent:
		return conntrack.TCPSynSent
	case synRecv:
		return conntrack.TCPSynRecv
	case established:
		return conntrack.TCPEstablished
	case timeWait:
		return conntrack.TCPTimeWait
	}
	return conntrack.NoTimeout
}

// after is what an entry of the kind becomes when its traffic ends.
func (k kind) after() kind {
	if k == established {
		return timeWait
	}
	return k
}

// assured entries are spared by early drop.
func (k kind) assured() bool { return k == udpStream || k == established || k == timeWait }

// unreplied entries have seen no packet in the reply direction.
func (k kind) unreplied() bool { return k == udpUnreplied || k == synSent }

// entry is one of the kind, as the rules of the policy see it.
func (k kind) entry() conntrack.Entry {
	const replied, assured = conntrack.StatusSeenReply, conntrack.StatusSeenReply | conntrack.StatusAssured
	switch k {
	case udpUnreplied:
		return conntrack.Entry{Proto: conntrack.ProtoUDP}
	case udpReplied:
		return conntrack.Entry{Proto: conntrack.ProtoUDP, Status: replied}
	case udpStream:
		return conntrack.Entry{Proto: conntrack.ProtoUDP, Status: assured}
	case synSent:
		return conntrack.Entry{Proto: conntrack.ProtoTCP, State: conntrack.StateSynSent}
	case synRecv:
		return conntrack.Entry{Proto: conntrack.ProtoTCP, State: conntrack.StateSynRecv, Status: replied}
	case established:
		return conntrack.Entry{Proto: conntrack.ProtoTCP, State: conntrack.StateEstablished, Status: assured}
	case timeWait:
		return conntrack.Entry{Proto: conntrack.ProtoTCP, State: conntrack.StateTimeWait, Status: assured}
	}
	return conntrack.Entry{}
}
