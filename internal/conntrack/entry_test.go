package conntrack_test

import (
	"encoding"
	"net/netip"
	"testing"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

func TestStatusText(t *testing.T) {
	for status, want := range map[conntrack.Status]string{
		0: "",
		conntrack.StatusSeenReply | conntrack.StatusAssured | conntrack.StatusConfirmed: "SEEN_REPLY,ASSURED,CONFIRMED",
		conntrack.StatusFixedTimeout | conntrack.StatusHWOffload:                        "FIXED_TIMEOUT,HW_OFFLOAD",
		conntrack.StatusHelper | conntrack.StatusOffload | conntrack.StatusDying:        "DYING,HELPER,OFFLOAD",
		conntrack.StatusExpected | 1<<16 | 1<<31:                                        "EXPECTED,0x80010000",
		1 << 20:                                                                         "0x100000",
	} {
		if got := status.String(); got != want {
			t.Errorf("%#x: got %q, want %q", uint32(status), got, want)
		}
		if got, err := conntrack.ParseStatus(want); err != nil || got != status {
			t.Errorf("parse %q: got %#x, %v", want, uint32(got), err)
		}
	}
}

func TestTCPStateText(t *testing.T) {
	closing := 0
	for s := range conntrack.NumTCPStates {
		got, err := conntrack.ParseTCPState(s.String())
		if err != nil || got != s {
			t.Errorf("%v: parsed as %v, %v", s, got, err)
		}
		if s.Closing() {
			closing++
		}
	}
	if closing != 5 || !conntrack.StateFinWait.Closing() || !conntrack.StateClose.Closing() || conntrack.StateEstablished.Closing() {
		t.Errorf("%d states are closing, want FIN_WAIT to CLOSE", closing)
	}
	if s, err := conntrack.ParseTCPState("LISTEN"); err != nil || s != conntrack.StateSynSent2 {
		t.Errorf("LISTEN: %v, %v", s, err)
	}
	if got := conntrack.TCPState(200).String(); got != "200" {
		t.Errorf("a state without a name: %q", got)
	}
}

func TestProtoText(t *testing.T) {
	for n := range 256 {
		got, err := conntrack.ParseProto(conntrack.ProtoName(uint8(n)))
		if err != nil || int(got) != n {
			t.Errorf("protocol %d: parsed as %d, %v", n, got, err)
		}
	}
}

func TestEntryParsersRefuse(t *testing.T) {
	for _, text := range []string{"nonsense", "SEEN_REPLY,", ",", "0x", "0x1ffffffff", "seen_reply"} {
		if s, err := conntrack.ParseStatus(text); err == nil {
			t.Errorf("status %q: %v", text, s)
		}
	}
	for _, text := range []string{"", "TIMEWAIT", "time_wait", "11"} {
		if s, err := conntrack.ParseTCPState(text); err == nil {
			t.Errorf("state %q: %v", text, s)
		}
	}
	for _, text := range []string{"", "-1", "256", "TCP", "tcp "} {
		if p, err := conntrack.ParseProto(text); err == nil {
			t.Errorf("protocol %q: %d", text, p)
		}
	}
}

func TestEntryText(t *testing.T) {
	four := conntrack.Tuple{
		Src: netip.MustParseAddr("10.0.0.1"), SrcPort: 1024,
		Dst: netip.MustParseAddr("192.0.2.1"), DstPort: 80,
	}
	ping := conntrack.Tuple{
		Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::2"),
		ICMPID: 77, ICMPType: 128,
	}
	for want, e := range map[string]conntrack.Entry{
		"tcp SYN_SENT 10.0.0.1:1024 -> 192.0.2.1:80 [UNREPLIED] timeout=118": {
			Orig: four, Proto: conntrack.ProtoTCP, State: conntrack.StateSynSent, Timeout: 118,
		},
		"tcp ESTABLISHED 10.0.0.1:1024 -> 192.0.2.1:80 [ASSURED] [OFFLOAD] zone=7 mark=9 timeout=0": {
			Orig: four, Proto: conntrack.ProtoTCP, State: conntrack.StateEstablished, Zone: 7, Mark: 9,
			Status: conntrack.StatusSeenReply | conntrack.StatusAssured | conntrack.StatusOffload,
		},
		"icmpv6 2001:db8::1 -> 2001:db8::2 type 128 code 0 id 77 timeout=30": {
			Orig: ping, Proto: conntrack.ProtoICMPv6, Status: conntrack.StatusSeenReply, Timeout: 30,
		},
		"0 - -> - [UNREPLIED] timeout=0": {},
	} {
		if got := e.String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// Each text that a type writes must be one that it reads.
var _ = []interface {
	encoding.TextMarshaler
	encoding.TextUnmarshaler
}{new(conntrack.Status), new(conntrack.TCPState)}

func TestEntryTextAllocatesNothing(t *testing.T) {
	e := conntrack.Entry{
		Orig:  conntrack.Tuple{Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("10.0.0.1"), DstPort: 9},
		Proto: conntrack.ProtoTCP, Status: 0xffff, State: conntrack.StateClose, Zone: 1, Mark: 1, Timeout: 1,
	}
	buf := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(100, func() {
		b, _ := e.AppendText(buf)
		_, _ = e.Status.AppendText(b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A kernel may have states that this program does not know.
func TestAnUnknownTCPStateIsANumber(t *testing.T) {
	for state, want := range map[conntrack.TCPState]string{conntrack.StateSynSent2: "SYN_SENT2", conntrack.NumTCPStates: "10", 255: "255"} {
		if got := state.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
