package cttest

import (
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// attributes lists an entry for IPCTNL_MSG_CT_NEW. The numbers are those of
// include/uapi/linux/netfilter/nfnetlink_conntrack.h.
func attributes(e conntrack.Entry) []netfilter.Attribute {
	if !e.Reply.Src.IsValid() {
		e.Reply = Reversed(e.Orig)
	}
	if e.Timeout == 0 {
		e.Timeout = defaultTimeout
	}
	list := []netfilter.Attribute{
		tuple(1, e.Orig, e.Proto),
		tuple(2, e.Reply, e.Proto),
		number(3, uint32(e.Status|conntrack.StatusConfirmed)),
		number(7, e.Timeout),
	}
	if e.Mark != 0 {
		list = append(list, number(8, e.Mark))
	}
	if e.Zone != 0 {
		list = append(list, short(18, e.Zone))
	}
	if e.Proto == unix.IPPROTO_TCP {
		state := netfilter.Attribute{Type: 1, Data: []byte{byte(e.State)}}
		list = append(list, nest(4, nest(1, state)))
	}
	return list
}

func tuple(kind uint16, t conntrack.Tuple, proto uint8) netfilter.Attribute {
	src, dst := uint16(1), uint16(2)
	if t.Src.Is6() {
		src, dst = 3, 4
	}
	list := []netfilter.Attribute{{Type: 1, Data: []byte{proto}}}
	switch proto {
	case unix.IPPROTO_ICMP:
		list = append(list, short(4, t.ICMPID), byteOf(5, t.ICMPType), byteOf(6, t.ICMPCode))
	case unix.IPPROTO_ICMPV6:
		list = append(list, short(7, t.ICMPID), byteOf(8, t.ICMPType), byteOf(9, t.ICMPCode))
	default:
		list = append(list, short(2, t.SrcPort), short(3, t.DstPort))
	}
	return nest(kind,
		nest(1,
			netfilter.Attribute{Type: src, Data: t.Src.AsSlice()},
			netfilter.Attribute{Type: dst, Data: t.Dst.AsSlice()}),
		nest(2, list...))
}

// Reversed is the reply of a connection without NAT. An echo request (8, or
// 128 in ICMPv6) has an echo reply (0, or 129).
func Reversed(t conntrack.Tuple) conntrack.Tuple {
	r := conntrack.Tuple{
		Src: t.Dst, Dst: t.Src, SrcPort: t.DstPort, DstPort: t.SrcPort,
		ICMPID: t.ICMPID, ICMPType: t.ICMPType, ICMPCode: t.ICMPCode,
	}
	switch t.ICMPType {
	case 8:
		r.ICMPType = 0
	case 128:
		r.ICMPType = 129
	}
	return r
}

func isICMP(proto uint8) bool {
	return proto == unix.IPPROTO_ICMP || proto == unix.IPPROTO_ICMPV6
}

func nest(kind uint16, children ...netfilter.Attribute) netfilter.Attribute {
	return netfilter.Attribute{Type: kind, Nested: true, Children: children}
}

func number(kind uint16, v uint32) netfilter.Attribute {
	return netfilter.Attribute{Type: kind, Data: netfilter.Uint32Bytes(v)}
}

func short(kind uint16, v uint16) netfilter.Attribute {
	return netfilter.Attribute{Type: kind, Data: netfilter.Uint16Bytes(v)}
}

func byteOf(kind uint16, v uint8) netfilter.Attribute {
	return netfilter.Attribute{Type: kind, Data: []byte{v}}
}
