package conntrack_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

func tupleOf(src, dst string, sport, dport uint16) conntrack.Tuple {
	return conntrack.Tuple{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), SrcPort: sport, DstPort: dport}
}

const (
	seen    = conntrack.StatusConfirmed | conntrack.StatusSeenReply
	assured = seen | conntrack.StatusAssured
)

func entryLines() map[string]struct {
	line string
	want conntrack.Entry
} {
	ping := func(src, dst string, kind uint8, id uint16) conntrack.Tuple {
		t := tupleOf(src, dst, 0, 0)
		t.ICMPType, t.ICMPID = kind, id
		return t
	}
	return map[string]struct {
		line string
		want conntrack.Entry
	}{
		"procfs": {
			"ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 [ASSURED] mark=5 zone=3 use=2\n",
			conntrack.Entry{
				Family: conntrack.IPv4, Proto: conntrack.ProtoTCP, Timeout: 431999, State: conntrack.StateEstablished, Mark: 5, Zone: 3, Status: assured,
				Orig: tupleOf("10.0.0.1", "10.0.0.2", 1, 2), Reply: tupleOf("10.0.0.2", "10.0.0.1", 2, 1),
			},
		},
		"conntrack without -o extended, or ip_conntrack of old": {
			"udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 mark=0 use=1",
			conntrack.Entry{
				Family: conntrack.IPv4, Proto: conntrack.ProtoUDP, Timeout: 29, Status: conntrack.StatusConfirmed,
				Orig: tupleOf("10.0.0.1", "10.0.0.2", 1, 2), Reply: tupleOf("10.0.0.2", "10.0.0.1", 2, 1),
			},
		},
		"accounting, time, labels, security context and a word of tomorrow": {
			"ipv6     10 tcp      6 119 TIME_WAIT src=2001:db8::1 dst=2001:db8::2 sport=1 dport=2 packets=5 bytes=300 src=2001:db8::2 dst=2001:db8::1 sport=2 dport=1 packets=4 bytes=200 [ASSURED] [TOMORROW] mark=0 secctx=system_u:object_r:t:s0 delta-time=20 labels=a,b zone-orig=9 helper=ftp use=2 id=77",
			conntrack.Entry{
				Family: conntrack.IPv6, Proto: conntrack.ProtoTCP, Timeout: 119, State: conntrack.StateTimeWait, Zone: 9, ID: 77, HasHelper: true, Status: assured,
				Orig: tupleOf("2001:db8::1", "2001:db8::2", 1, 2), Reply: tupleOf("2001:db8::2", "2001:db8::1", 2, 1),
			},
		},
		"masquerade": {
			"tcp 6 5 CLOSE src=10.0.0.1 dst=192.0.2.2 sport=1000 dport=80 src=192.0.2.2 dst=198.51.100.1 sport=80 dport=1000 [ASSURED] use=1",
			conntrack.Entry{
				Family: conntrack.IPv4, Proto: conntrack.ProtoTCP, Timeout: 5, State: conntrack.StateClose, Status: assured | conntrack.StatusSrcNAT,
				Orig: tupleOf("10.0.0.1", "192.0.2.2", 1000, 80), Reply: tupleOf("192.0.2.2", "198.51.100.1", 80, 1000),
			},
		},
		"only the source port is translated": {
			"tcp 6 5 CLOSE src=10.0.0.1 dst=192.0.2.2 sport=1000 dport=80 src=192.0.2.2 dst=10.0.0.1 sport=80 dport=1001 use=1",
			conntrack.Entry{
				Family: conntrack.IPv4, Proto: conntrack.ProtoTCP, Timeout: 5, State: conntrack.StateClose, Status: seen | conntrack.StatusSrcNAT,
				Orig: tupleOf("10.0.0.1", "192.0.2.2", 1000, 80), Reply: tupleOf("192.0.2.2", "10.0.0.1", 80, 1001),
			},
		},
		"a port that is forwarded": {
			"tcp 6 5 CLOSE src=10.0.0.1 dst=192.0.2.2 sport=1000 dport=80 src=192.0.2.2 dst=10.0.0.1 sport=8080 dport=1000 use=1",
			conntrack.Entry{
				Family: conntrack.IPv4, Proto: conntrack.ProtoTCP, Timeout: 5, State: conntrack.StateClose, Status: seen | conntrack.StatusDstNAT,
				Orig: tupleOf("10.0.0.1", "192.0.2.2", 1000, 80), Reply: tupleOf("192.0.2.2", "10.0.0.1", 8080, 1000),
			},
		},
		"offloaded, with neither time nor state": {
			"ipv4     2 tcp      6 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 [OFFLOAD] mark=0 zone=0 use=3",
			conntrack.Entry{
				Family: conntrack.IPv4, Proto: conntrack.ProtoTCP, Status: seen | conntrack.StatusOffload,
				Orig: tupleOf("10.0.0.1", "10.0.0.2", 1, 2), Reply: tupleOf("10.0.0.2", "10.0.0.1", 2, 1),
			},
		},
		"offloaded to the hardware": {
			"udp      17 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 [HW_OFFLOAD] mark=0 use=3",
			conntrack.Entry{
				Family: conntrack.IPv4, Proto: conntrack.ProtoUDP, Status: seen | conntrack.StatusOffload | conntrack.StatusHWOffload,
				Orig: tupleOf("10.0.0.1", "10.0.0.2", 1, 2), Reply: tupleOf("10.0.0.2", "10.0.0.1", 2, 1),
			},
		},
		"an echo, its id and the id of the entry": {
			"icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=1234 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=1234 mark=0 use=1 id=3304224977",
			conntrack.Entry{
				Family: conntrack.IPv4, Proto: conntrack.ProtoICMP, Timeout: 29, Status: seen, ID: 3304224977,
				Orig: ping("10.0.0.1", "10.0.0.2", 8, 1234), Reply: ping("10.0.0.2", "10.0.0.1", 0, 1234),
			},
		},
		"an echo behind masquerade": {
			"icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=1234 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=9 mark=0 use=1",
			conntrack.Entry{
				Family: conntrack.IPv4, Proto: conntrack.ProtoICMP, Timeout: 29, Status: seen | conntrack.StatusSrcNAT,
				Orig: ping("10.0.0.1", "10.0.0.2", 8, 1234), Reply: ping("10.0.0.2", "10.0.0.1", 0, 9),
			},
		},
		"GRE with its timeouts, as procfs has them": {
			"ipv4     2 gre      47 99 timeout=0, stream_timeout=0 src=10.0.0.1 dst=10.0.0.2 srckey=0x1 dstkey=0x2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 srckey=0x2 dstkey=0x1 mark=0 zone=0 use=2",
			conntrack.Entry{
				Family: conntrack.IPv4, Proto: conntrack.ProtoGRE, Timeout: 99, Status: conntrack.StatusConfirmed,
				Orig: tupleOf("10.0.0.1", "10.0.0.2", 1, 2), Reply: tupleOf("10.0.0.2", "10.0.0.1", 2, 1),
			},
		},
		"a protocol without a name": {
			"ipv4     2 unknown  253 599 src=10.0.0.1 dst=10.0.0.2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 mark=0 zone=0 use=2",
			conntrack.Entry{
				Family: conntrack.IPv4, Proto: 253, Timeout: 599, Status: conntrack.StatusConfirmed,
				Orig: tupleOf("10.0.0.1", "10.0.0.2", 0, 0), Reply: tupleOf("10.0.0.2", "10.0.0.1", 0, 0),
			},
		},
		"keys before the first tuple": {
			"udp 17 9 dst=10.9.9.9 sport=7 packets=1 id=7 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1",
			conntrack.Entry{
				Family: conntrack.IPv4, Proto: conntrack.ProtoUDP, Timeout: 9, ID: 7, Status: seen,
				Orig: tupleOf("10.0.0.1", "10.0.0.2", 1, 2), Reply: tupleOf("10.0.0.2", "10.0.0.1", 2, 1),
			},
		},
		"SCTP, whose state is not read": {
			"sctp     132 99 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 mark=0 use=1",
			conntrack.Entry{
				Family: conntrack.IPv4, Proto: conntrack.ProtoSCTP, Timeout: 99, Status: seen,
				Orig: tupleOf("10.0.0.1", "10.0.0.2", 1, 2), Reply: tupleOf("10.0.0.2", "10.0.0.1", 2, 1),
			},
		},
	}
}

func TestParseEntry(t *testing.T) {
	for name, test := range entryLines() {
		t.Run(name, func(t *testing.T) {
			got, err := conntrack.ParseEntry(test.line)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestParseEntryRefuses(t *testing.T) {
	const tuples = " src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1"
	for name, line := range map[string]string{
		"nothing":                      "",
		"the last line of conntrack":   "conntrack v1.4.7 (conntrack-tools): 6 flow entries have been shown.",
		"an event":                     "    [NEW] tcp      6 120 SYN_SENT" + tuples,
		"no tuple":                     "tcp 6 5 CLOSE mark=0 use=1",
		"ports and no address":         "tcp 6 5 CLOSE sport=1 dport=2 sport=2 dport=1",
		"one tuple":                    "tcp 6 5 CLOSE src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2",
		"a tuple that is cut short":    "tcp 6 5 CLOSE src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2",
		"three tuples":                 "tcp 6 5 CLOSE" + tuples + " src=10.0.0.2 dst=10.0.0.1",
		"no protocol number":           "tcp CLOSE" + tuples,
		"a protocol number too large":  "tcp 256 5 CLOSE" + tuples,
		"a port too large":             "tcp 6 5 CLOSE src=10.0.0.1 dst=10.0.0.2 sport=65536 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1",
		"no address":                   "tcp 6 5 CLOSE src=host dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1",
		"an address with an interface": "tcp 6 5 CLOSE src=fe80::1%eth0 dst=fe80::2 sport=1 dport=2 src=fe80::2 dst=fe80::1 sport=2 dport=1",
		"two families":                 "tcp 6 5 CLOSE src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=fe80::2 dst=10.0.0.1 sport=2 dport=1",
		"the other family":             "ipv6 10 tcp 6 5 CLOSE" + tuples,
		"a time too large":             "tcp 6 4294967296 CLOSE" + tuples,
		"a mark too large":             "tcp 6 5 CLOSE" + tuples + " mark=4294967296",
		"a negative zone":              "tcp 6 5 CLOSE" + tuples + " zone=-1",
	} {
		if e, err := conntrack.ParseEntry(line); err == nil {
			t.Errorf("%s: read as %s", name, &e)
		}
	}
}

// FuzzParseEntry wants what was read to survive being written and read again.
func FuzzParseEntry(f *testing.F) {
	for _, test := range entryLines() {
		f.Add(test.line)
		f.Add(test.line[:len(test.line)/2])
		f.Add(strings.ReplaceAll(test.line, " ", "\x1b[2J\t"))
	}
	f.Fuzz(func(t *testing.T, line string) {
		e, err := conntrack.ParseEntry(line)
		if err != nil {
			if e != (conntrack.Entry{}) || len(err.Error()) > 300 {
				t.Errorf("%v, %v", e, err)
			}
			return
		}
		if !e.Orig.Src.IsValid() || e.Orig.Src.Is6() != (e.Family == conntrack.IPv6) || e.State >= conntrack.NumTCPStates {
			t.Errorf("%+v", e)
		}
		for _, r := range e.String() {
			if r < ' ' || r > '~' {
				t.Errorf("%q is not plain text", e.String())
			}
		}
	})
}
