package nfct_test

import (
	"encoding"
	"net/netip"
	"testing"

	"github.com/ctwarden/ctwarden/internal/nfct"
)

func TestStatusText(t *testing.T) {
	for status, want := range map[nfct.Status]string{
		0: "",
		nfct.StatusSeenReply | nfct.StatusAssured | nfct.StatusConfirmed: "SEEN_REPLY,ASSURED,CONFIRMED",
		nfct.StatusFixedTimeout | nfct.StatusHWOffload:                   "FIXED_TIMEOUT,HW_OFFLOAD",
		nfct.StatusHelper | nfct.StatusOffload | nfct.StatusDying:        "DYING,HELPER,OFFLOAD",
		nfct.StatusExpected | 1<<16 | 1<<31:                              "EXPECTED,0x80010000",
		1 << 20:                                                          "0x100000",
	} {
		if got := status.String(); got != want {
			t.Errorf("%#x: got %q, want %q", uint32(status), got, want)
		}
		if got, err := nfct.ParseStatus(want); err != nil || got != status {
			t.Errorf("parse %q: got %#x, %v", want, uint32(got), err)
		}
	}
}

func TestTCPStateText(t *testing.T) {
	closing := 0
	for s := range nfct.NumTCPStates {
		got, err := nfct.ParseTCPState(s.String())
		if err != nil || got != s {
			t.Errorf("%v: parsed as %v, %v", s, got, err)
		}
		if s.Closing() {
			closing++
		}
	}
	if closing != 5 || !nfct.StateFinWait.Closing() || !nfct.StateClose.Closing() || nfct.StateEstablished.Closing() {
		t.Errorf("%d states are closing, want FIN_WAIT to CLOSE", closing)
	}
	if s, err := nfct.ParseTCPState("LISTEN"); err != nil || s != nfct.StateSynSent2 {
		t.Errorf("LISTEN: %v, %v", s, err)
	}
	if got := nfct.TCPState(200).String(); got != "200" {
		t.Errorf("a state without a name: %q", got)
	}
}

func TestProtoText(t *testing.T) {
	for n := range 256 {
		got, err := nfct.ParseProto(nfct.ProtoName(uint8(n)))
		if err != nil || int(got) != n {
			t.Errorf("protocol %d: parsed as %d, %v", n, got, err)
		}
	}
}

func TestEntryParsersRefuse(t *testing.T) {
	for _, text := range []string{"nonsense", "SEEN_REPLY,", ",", "0x", "0x1ffffffff", "seen_reply"} {
		if s, err := nfct.ParseStatus(text); err == nil {
			t.Errorf("status %q: %v", text, s)
		}
	}
	for _, text := range []string{"", "TIMEWAIT", "time_wait", "11"} {
		if s, err := nfct.ParseTCPState(text); err == nil {
			t.Errorf("state %q: %v", text, s)
		}
	}
	for _, text := range []string{"", "-1", "256", "TCP", "tcp "} {
		if p, err := nfct.ParseProto(text); err == nil {
			t.Errorf("protocol %q: %d", text, p)
		}
	}
}

func TestEntryText(t *testing.T) {
	four := nfct.Tuple{
		Src: netip.MustParseAddr("10.0.0.1"), SrcPort: 1024,
		Dst: netip.MustParseAddr("192.0.2.1"), DstPort: 80,
	}
	ping := nfct.Tuple{
		Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::2"),
		ICMPID: 77, ICMPType: 128,
	}
	for want, e := range map[string]nfct.Entry{
		"tcp SYN_SENT 10.0.0.1:1024 -> 192.0.2.1:80 [UNREPLIED] timeout=118": {
			Orig: four, Proto: nfct.ProtoTCP, State: nfct.StateSynSent, Timeout: 118,
		},
		"tcp ESTABLISHED 10.0.0.1:1024 -> 192.0.2.1:80 [ASSURED] [OFFLOAD] zone=7 mark=9 timeout=0": {
			Orig: four, Proto: nfct.ProtoTCP, State: nfct.StateEstablished, Zone: 7, Mark: 9,
			Status: nfct.StatusSeenReply | nfct.StatusAssured | nfct.StatusOffload,
		},
		"icmpv6 2001:db8::1 -> 2001:db8::2 type 128 code 0 id 77 timeout=30": {
			Orig: ping, Proto: nfct.ProtoICMPv6, Status: nfct.StatusSeenReply, Timeout: 30,
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
}{new(nfct.Status), new(nfct.TCPState)}

func TestEntryTextAllocatesNothing(t *testing.T) {
	e := nfct.Entry{
		Orig:  nfct.Tuple{Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("10.0.0.1"), DstPort: 9},
		Proto: nfct.ProtoTCP, Status: 0xffff, State: nfct.StateClose, Zone: 1, Mark: 1, Timeout: 1,
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
	for state, want := range map[nfct.TCPState]string{nfct.StateSynSent2: "SYN_SENT2", nfct.NumTCPStates: "10", 255: "255"} {
		if got := state.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
