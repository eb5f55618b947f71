package ctnetlink

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	timo "github.com/ti-mo/conntrack"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

var sameAddr = cmpopts.EquateComparable(netip.Addr{})

// appendAttribute adds an attribute and its padding to b.
func appendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attributeHeader+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, align4(len(value))-len(value))...)
}

// attr builds an attribute; nest one of others, with the flag that the kernel
// sets on some nests and not on others.
func attr(kind uint16, value ...byte) []byte { return appendAttribute(nil, kind, value) }

func nest(kind uint16, children ...[]byte) []byte {
	return appendAttribute(nil, kind|0x8000, slices.Concat(children...))
}

func be32(kind uint16, v uint32) []byte { return appendUint32(nil, kind, v) }

func payload(family uint8, attrs ...[]byte) []byte {
	return append([]byte{family, 0, 0, 0}, slices.Concat(attrs...)...)
}

func tuple4(kind uint16, more ...[]byte) []byte {
	proto := nest(ctaTupleProto, attr(ctaProtoNum, 6), attr(ctaProtoSrcPort, 0x30, 0x39), attr(ctaProtoDstPort, 0, 80))
	ip := nest(ctaTupleIP, attr(ctaIPv4Src, 10, 0, 0, 1), attr(ctaIPv4Dst, 192, 0, 2, 1))
	return nest(kind, append([][]byte{ip, proto}, more...)...)
}

func full() []byte {
	start := binary.BigEndian.AppendUint64(nil, 1_700_000_000_000_000_000)
	return payload(2,
		tuple4(ctaTupleOrig), tuple4(ctaTupleReply),
		be32(ctaStatus, 0xe), be32(ctaTimeout, 431999), be32(ctaMark, 0xdeadbeef), be32(ctaID, 0x01020304),
		nest(ctaProtoInfo, nest(ctaProtoInfoTCP, attr(ctaProtoInfoTCPState, 3), attr(2, 7))),
		nest(ctaHelp, attr(1, 'f', 't', 'p', 0)),
		nest(ctaTupleMaster, attr(1)),
		attr(ctaZone, 0, 7),
		nest(ctaTimestamp, attr(ctaTimestampStart, start...)),
		attr(999, 1, 2, 3),
	)
}

func TestDecode(t *testing.T) {
	orig := conntrack.Tuple{
		Src: netip.MustParseAddr("10.0.0.1"), SrcPort: 12345,
		Dst: netip.MustParseAddr("192.0.2.1"), DstPort: 80,
	}
	idle := slices.Concat(be32(ctaStatus, 0), be32(ctaTimeout, 0))
	v6 := func(last byte) []byte { return []byte{0x20, 1, 0xd, 0xb8, 15: last} }
	tests := map[string]struct {
		in   []byte
		want conntrack.Entry
	}{
		"everything that the kernel tells of a TCP entry": {
			full(),
			conntrack.Entry{
				Orig: orig, Reply: orig, Family: 2, Proto: 6, Zone: 7, Status: 0xe, State: conntrack.StateEstablished,
				Timeout: 431999, Mark: 0xdeadbeef, ID: 0x01020304, HasHelper: true, HasMaster: true,
				Start: 1_700_000_000_000_000_000,
			},
		},
		"an offloaded entry has no timeout": {
			payload(2, tuple4(ctaTupleOrig), be32(ctaStatus, uint32(conntrack.StatusOffload))),
			conntrack.Entry{Orig: orig, Family: 2, Proto: 6, Status: conntrack.StatusOffload},
		},
		"an entry is offloaded between its status and its timeout": {
			payload(2, tuple4(ctaTupleOrig), be32(ctaStatus, uint32(conntrack.StatusConfirmed))),
			conntrack.Entry{Orig: orig, Family: 2, Proto: 6, Status: conntrack.StatusConfirmed | conntrack.StatusOffload},
		},
		"an entry that has expired is not offloaded": {
			payload(2, tuple4(ctaTupleOrig), be32(ctaStatus, uint32(conntrack.StatusConfirmed)), be32(ctaTimeout, 0)),
			conntrack.Entry{Orig: orig, Family: 2, Proto: 6, Status: conntrack.StatusConfirmed},
		},
		"a zone of one direction": {
			payload(2, tuple4(ctaTupleOrig, attr(ctaTupleZone, 1, 2)), idle),
			conntrack.Entry{Orig: orig, Family: 2, Proto: 6, Zone: 0x102},
		},
		"a TCP state of a later kernel": {
			payload(2, tuple4(ctaTupleOrig), idle, nest(ctaProtoInfo, nest(ctaProtoInfoTCP, attr(ctaProtoInfoTCPState, byte(conntrack.NumTCPStates))))),
			conntrack.Entry{Orig: orig, Family: 2, Proto: 6},
		},
		"the last TCP state": {
			payload(2, tuple4(ctaTupleOrig), idle, nest(ctaProtoInfo, nest(ctaProtoInfoTCP, attr(ctaProtoInfoTCPState, byte(conntrack.StateSynSent2))))),
			conntrack.Entry{Orig: orig, Family: 2, Proto: 6, State: conntrack.StateSynSent2},
		},
		"protocol information of SCTP is not TCP's": {
			payload(2, tuple4(ctaTupleOrig), idle, nest(ctaProtoInfo, nest(3, attr(1, 4)))),
			conntrack.Entry{Orig: orig, Family: 2, Proto: 6},
		},
		"an ICMPv6 echo": {
			payload(10, nest(ctaTupleOrig,
				nest(ctaTupleIP, attr(ctaIPv6Src, v6(1)...), attr(ctaIPv6Dst, v6(2)...)),
				nest(ctaTupleProto, attr(ctaProtoNum, 58), attr(ctaProtoICMPv6ID, 1, 2), attr(ctaProtoICMPv6Type, 128), attr(ctaProtoICMPv6Code, 3))),
				idle),
			conntrack.Entry{
				Orig: conntrack.Tuple{
					Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::2"),
					ICMPID: 0x102, ICMPType: 128, ICMPCode: 3,
				},
				Family: 10, Proto: 58,
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := conntrack.Entry{Mark: 1, Start: 1, HasMaster: true} // left by the entry before
			var k Key
			if err := decode(test.in, &got, &k); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, sameAddr); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestDecodeKey(t *testing.T) {
	var e conntrack.Entry
	var k Key
	if err := decode(full(), &e, &k); err != nil {
		t.Fatal(err)
	}
	want := tuple4(ctaTupleOrig)
	if !slices.Equal(k.tuple, want) || k.family != 2 || k.zone != 7 || k.id != 0x01020304 || !k.hasID {
		t.Errorf("key %+v, want the tuple %x", k, want)
	}
	// A zone of one direction is in the tuple already: as CTA_ZONE it would
	// be refused (ctnetlink_parse_tuple_zone).
	if err := decode(payload(2, tuple4(ctaTupleOrig, attr(ctaTupleZone, 0, 9)), be32(ctaStatus, 0)), &e, &k); err != nil {
		t.Fatal(err)
	}
	if k.zone != 0 || e.Zone != 9 || k.hasID {
		t.Errorf("key zone %d, entry zone %d, want 0 and 9", k.zone, e.Zone)
	}
}

// The bits as another library has them.
func TestStatusBits(t *testing.T) {
	for ours, theirs := range map[conntrack.Status]timo.Status{
		conntrack.StatusExpected: timo.StatusExpected, conntrack.StatusSeenReply: timo.StatusSeenReply, conntrack.StatusAssured: timo.StatusAssured,
		conntrack.StatusConfirmed: timo.StatusConfirmed, conntrack.StatusSrcNAT: timo.StatusSrcNAT, conntrack.StatusDstNAT: timo.StatusDstNAT,
		conntrack.StatusDying: timo.StatusDying, conntrack.StatusFixedTimeout: timo.StatusFixedTimeout, conntrack.StatusHelper: timo.StatusHelper,
		conntrack.StatusOffload: timo.StatusOffload,
	} {
		if uint32(ours) != uint32(theirs) {
			t.Errorf("%#x, %#x there", uint32(ours), uint32(theirs))
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	long := attr(ctaMark, 0, 0, 0, 1)
	binary.NativeEndian.PutUint16(long, 9)
	short := attr(ctaMark, 0, 0, 0, 1)
	binary.NativeEndian.PutUint16(short, 3)
	// cut is a nest of nests whose innermost one ends within an attribute.
	cut := func(kinds ...uint16) []byte {
		b := []byte{1, 2, 3}
		for _, kind := range slices.Backward(kinds) {
			b = nest(kind, b)
		}
		return payload(2, tuple4(ctaTupleOrig), be32(ctaStatus, 8), b)
	}
	for name, in := range map[string][]byte{
		"a tuple that is cut short":            cut(ctaTupleReply),
		"addresses that are cut short":         cut(ctaTupleReply, ctaTupleIP),
		"ports that are cut short":             cut(ctaTupleReply, ctaTupleProto),
		"protocol information, cut short":      cut(ctaProtoInfo),
		"TCP information that is cut short":    cut(ctaProtoInfo, ctaProtoInfoTCP),
		"a timestamp that is cut short":        cut(ctaTimestamp),
		"nothing":                              nil,
		"half a header":                        {2, 0},
		"no tuple":                             payload(2, be32(ctaStatus, 8)),
		"only the reply":                       payload(2, tuple4(ctaTupleReply), be32(ctaStatus, 8)),
		"no status":                            payload(2, tuple4(ctaTupleOrig), be32(ctaTimeout, 1)),
		"an attribute past the end":            payload(2, tuple4(ctaTupleOrig), be32(ctaStatus, 8), long),
		"an attribute shorter than its header": payload(2, tuple4(ctaTupleOrig), be32(ctaStatus, 8), short),
		"three bytes left over":                append(payload(2, tuple4(ctaTupleOrig), be32(ctaStatus, 8)), 1, 2, 3),
		"a status of two bytes":                payload(2, tuple4(ctaTupleOrig), attr(ctaStatus, 0, 8)),
		"a zone of one byte":                   payload(2, tuple4(ctaTupleOrig), be32(ctaStatus, 8), attr(ctaZone, 1)),
		"an IPv4 address of 16 bytes":          payload(2, be32(ctaStatus, 8), nest(ctaTupleOrig, nest(ctaTupleIP, attr(ctaIPv4Src, make([]byte, 16)...)))),
		"an IPv6 address of 4 bytes":           payload(2, be32(ctaStatus, 8), nest(ctaTupleOrig, nest(ctaTupleIP, attr(ctaIPv6Dst, 1, 2, 3, 4)))),
		"a port of one byte":                   payload(2, be32(ctaStatus, 8), nest(ctaTupleOrig, nest(ctaTupleProto, attr(ctaProtoSrcPort, 1)))),
		"a TCP state of no byte":               payload(2, tuple4(ctaTupleOrig), be32(ctaStatus, 8), nest(ctaProtoInfo, nest(ctaProtoInfoTCP, attr(ctaProtoInfoTCPState)))),
		"a time of four bytes":                 payload(2, tuple4(ctaTupleOrig), be32(ctaStatus, 8), nest(ctaTimestamp, be32(ctaTimestampStart, 1))),
	} {
		var e conntrack.Entry
		var k Key
		want := errMalformed
		switch name {
		case "no tuple", "only the reply", "no status":
			want = errIncomplete
		}
		if err := decode(in, &e, &k); !errors.Is(err, want) {
			t.Errorf("%s: decoded as %v, %v", name, &e, err)
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	in := full()
	var e conntrack.Entry
	var k Key
	if n := testing.AllocsPerRun(1000, func() {
		if err := decode(in, &e, &k); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	whole := full()
	for n := range len(whole) + 1 {
		f.Add(whole[:n])
	}
	for i := range whole {
		broken := slices.Clone(whole)
		broken[i] ^= 0xff
		f.Add(broken)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var e conntrack.Entry
		var k Key
		if err := decode(in, &e, &k); err != nil {
			return
		}
		if e.State >= conntrack.NumTCPStates {
			t.Errorf("state %d", e.State)
		}
		// What was decoded either makes a whole delete of this very tuple or
		// none at all.
		b := newBatch()
		if err := b.delete(&k); err != nil {
			if b.n != 0 || len(b.buf) != 0 || !errors.Is(err, ErrRefused) {
				t.Errorf("refused with %v, but %d bytes are there", err, len(b.buf))
			}
			return
		}
		checkDelete(t, b, &k)
	})
}

func FuzzDatagram(f *testing.F) {
	one := beginMessage(nil, msgNew, 2, 2)
	one = append(one, full()[4:]...)
	endMessage(one, 0)
	f.Add(slices.Concat(one, one))
	f.Add(one[:len(one)-1])
	f.Add([]byte{20, 0, 0, 0, 3, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xea, 0xff, 0xff, 0xff})
	f.Add([]byte{16, 0, 0, 0, 3, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		d := dump{conn: &Conn{}, visit: func(*conntrack.Entry, *Key) bool { return true }}
		_, _ = d.handle(in)
		if d.Entries+d.Unread != d.Seen {
			t.Errorf("%+v", d.Dumped)
		}
		_, _, _ = (&Conn{}).statRows(in, nil)
		b := newBatch()
		change := Change{Done: 1}
		_, _ = (&Conn{}).handleReplies(in, b, 0, &change)
	})
}

func BenchmarkDecode(b *testing.B) {
	in := full()
	var e conntrack.Entry
	var k Key
	b.ReportAllocs()
	for b.Loop() {
		if err := decode(in, &e, &k); err != nil {
			b.Fatal(err)
		}
	}
}

// TestDumpIgnoresRepliesToOtherRequests: what comes late, of a request before, is
// passed over, and what the kernel says of the dump's consistency is reported.
func TestDumpIgnoresRepliesToOtherRequests(t *testing.T) {
	said := func(seq uint32, flags netlink.HeaderFlags, kind uint16, body []byte) []byte {
		b := beginMessage(nil, msgNew, flags, unix.AF_INET)
		b = append(b[:messageHeader], body...)
		endMessage(b, 0)
		binary.NativeEndian.PutUint16(b[4:], kind)
		setSequence(b, seq)
		return b
	}
	entry := payload(unix.AF_INET, tuple4(ctaTupleOrig), be32(ctaStatus, 8), be32(ctaTimeout, 1))
	done := uint16(netlink.Done)
	d := dump{conn: &Conn{seq: 5}, visit: func(*conntrack.Entry, *Key) bool { return true }}
	over, err := d.handle(slices.Concat(
		said(4, netlink.DumpInterrupted, messageType(msgNew), entry), said(4, 0, done, make([]byte, 4)),
		said(5, 0, messageType(msgNew), entry),
	))
	if over || err != nil || d.Seen != 1 || d.Interrupted {
		t.Errorf("over %t, %v: %+v, want one entry", over, err, d.Dumped)
	}
	over, err = d.handle(slices.Concat(said(5, netlink.DumpInterrupted, messageType(msgNew), entry), said(5, 0, done, make([]byte, 4))))
	if !over || err != nil || d.Seen != 2 || !d.Interrupted {
		t.Errorf("over %t, %v: %+v, want the end of an interrupted dump", over, err, d.Dumped)
	}
}
