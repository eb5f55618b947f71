package conntrack

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// statusNames are the kernel's names without IPS_, by bit. See enum
// ip_conntrack_status in include/uapi/linux/netfilter/nf_conntrack_common.h.
var statusNames = [...]string{
	"EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED", "SRC_NAT", "DST_NAT",
	"SEQ_ADJUST", "SRC_NAT_DONE", "DST_NAT_DONE", "DYING", "FIXED_TIMEOUT",
	"TEMPLATE", "NAT_CLASH", "HELPER", "OFFLOAD", "HW_OFFLOAD",
}

// Unreplied reports that no packet was seen in the reply direction.
func (s Status) Unreplied() bool { return s&StatusSeenReply == 0 }

// Has reports whether all bits of b are set.
func (s Status) Has(b Status) bool { return s&b == b }

// AppendText adds the names of the bits that are set, separated by commas; a
// bit without a name is added in hexadecimal. The zero Status adds nothing.
func (s Status) AppendText(b []byte) ([]byte, error) {
	start := len(b)
	for i, name := range statusNames {
		if s&(1<<i) == 0 {
			continue
		}
		if len(b) > start {
			b = append(b, ',')
		}
		b = append(b, name...)
	}
	if unnamed := s >> len(statusNames) << len(statusNames); unnamed != 0 {
		if len(b) > start {
			b = append(b, ',')
		}
		b = append(b, "0x"...)
		b = strconv.AppendUint(b, uint64(unnamed), 16)
	}
	return b, nil
}

// String is the names of the bits that are set, as in "SEEN_REPLY,ASSURED".
func (s Status) String() string {
	b, _ := s.AppendText(nil)
	return string(b)
}

// MarshalText implements encoding.TextMarshaler.
func (s Status) MarshalText() ([]byte, error) { return s.AppendText(nil) }

// ParseStatus reads what String writes. The empty text is the zero Status.
func ParseStatus(text string) (Status, error) {
	var s Status
	if text == "" {
		return 0, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		bit, err := parseStatusBit(name)
		if err != nil {
			return 0, err
		}
		s |= bit
	}
	return s, nil
}

func parseStatusBit(name string) (Status, error) {
	for i, known := range statusNames {
		if name == known {
			return 1 << i, nil
		}
	}
	if digits, ok := strings.CutPrefix(name, "0x"); ok {
		if bits, err := strconv.ParseUint(digits, 16, 32); err == nil {
			return Status(bits), nil
		}
	}
	return 0, fmt.Errorf("unknown status %q", name)
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Status) UnmarshalText(text []byte) (err error) {
	*s, err = ParseStatus(string(text))
	return err
}

// stateNames are those of tcp_conntrack_names in
// net/netfilter/nf_conntrack_proto_tcp.c.
var stateNames = [NumTCPStates]string{
	"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT",
	"LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2",
}

// String is the kernel's name, as in "TIME_WAIT"; a number if it has none.
func (s TCPState) String() string {
	if s < NumTCPStates {
		return stateNames[s]
	}
	return strconv.Itoa(int(s))
}

// Closing reports that the connection is over or about to be: FIN_WAIT,
// CLOSE_WAIT, LAST_ACK, TIME_WAIT or CLOSE. When the table is full the kernel
// itself drops such entries early, even if assured (tcp_can_early_drop in
// net/netfilter/nf_conntrack_proto_tcp.c).
func (s TCPState) Closing() bool {
	return s >= StateFinWait && s <= StateClose
}

// MarshalText implements encoding.TextMarshaler.
func (s TCPState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ParseTCPState finds a state by its name. "LISTEN" is what conntrack-tools
// prints for SYN_SENT2.
func ParseTCPState(name string) (TCPState, error) {
	for i, known := range stateNames {
		if name == known {
			return TCPState(i), nil
		}
	}
	if name == "LISTEN" {
		return StateSynSent2, nil
	}
	return StateNone, fmt.Errorf("unknown TCP state %q", name)
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *TCPState) UnmarshalText(text []byte) (err error) {
	*s, err = ParseTCPState(string(text))
	return err
}

// AppendText adds the tuple as in "10.0.0.1:1024 -> 192.0.2.1:9" or, when no
// port is set, "10.0.0.1 -> 192.0.2.1 type 8 code 0 id 77".
func (t Tuple) AppendText(b []byte) ([]byte, error) {
	b = appendEnd(b, t.Src, t.SrcPort)
	b = append(b, " -> "...)
	b = appendEnd(b, t.Dst, t.DstPort)
	if t.ICMPID == 0 && t.ICMPType == 0 && t.ICMPCode == 0 {
		return b, nil
	}
	b = strconv.AppendUint(append(b, " type "...), uint64(t.ICMPType), 10)
	b = strconv.AppendUint(append(b, " code "...), uint64(t.ICMPCode), 10)
	return strconv.AppendUint(append(b, " id "...), uint64(t.ICMPID), 10), nil
}

func appendEnd(b []byte, addr netip.Addr, port uint16) []byte {
	if port == 0 {
		if !addr.IsValid() {
			return append(b, '-')
		}
		return addr.AppendTo(b)
	}
	return netip.AddrPortFrom(addr, port).AppendTo(b)
}

// String is the text of AppendText.
func (t Tuple) String() string {
	b, _ := t.AppendText(nil)
	return string(b)
}

// AppendText adds one line for a person: protocol, state, original tuple, the
// marks that conntrack prints in brackets, and what else is not usual.
func (e *Entry) AppendText(b []byte) ([]byte, error) {
	b = append(b, ProtoName(e.Proto)...)
	if e.Proto == ProtoTCP {
		b = append(append(b, ' '), e.State.String()...)
	}
	b, _ = e.Orig.AppendText(append(b, ' '))
	if e.Status.Unreplied() {
		b = append(b, " [UNREPLIED]"...)
	}
	if e.Status.Has(StatusAssured) {
		b = append(b, " [ASSURED]"...)
	}
	if e.Status&(StatusOffload|StatusHWOffload) != 0 {
		b = append(b, " [OFFLOAD]"...)
	}
	if e.Zone != 0 {
		b = strconv.AppendUint(append(b, " zone="...), uint64(e.Zone), 10)
	}
	if e.Mark != 0 {
		b = strconv.AppendUint(append(b, " mark="...), uint64(e.Mark), 10)
	}
	b = strconv.AppendUint(append(b, " timeout="...), uint64(e.Timeout), 10)
	return b, nil
}

// String is the text of AppendText.
func (e *Entry) String() string {
	b, _ := e.AppendText(nil)
	return string(b)
}
