package ctnetlink

import (
	"encoding/binary"
	"errors"
)

// Attributes of an entry: enum ctattr_type and its nests in
// include/uapi/linux/netfilter/nfnetlink_conntrack.h.
const (
	ctaTupleOrig   = 1
	ctaTupleReply  = 2
	ctaStatus      = 3
	ctaProtoInfo   = 4
	ctaHelp        = 5
	ctaTimeout     = 7
	ctaMark        = 8
	ctaID          = 12
	ctaTupleMaster = 14
	ctaZone        = 18
	ctaTimestamp   = 20
	ctaStatusMask  = 26

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaTupleZone  = 3

	ctaIPv4Src = 1
	ctaIPv4Dst = 2
	ctaIPv6Src = 3
	ctaIPv6Dst = 4

	ctaProtoNum        = 1
	ctaProtoSrcPort    = 2
	ctaProtoDstPort    = 3
	ctaProtoICMPID     = 4
	ctaProtoICMPType   = 5
	ctaProtoICMPCode   = 6
	ctaProtoICMPv6ID   = 7
	ctaProtoICMPv6Type = 8
	ctaProtoICMPv6Code = 9

	ctaProtoInfoTCP      = 1
	ctaProtoInfoTCPState = 1

	ctaTimestampStart = 1
)

// attributeHeader is the size of struct nlattr: a length, header included,
// and a type, both in host order.
const attributeHeader = 4

// typeMask takes the NLA_F_NESTED and NLA_F_NET_BYTEORDER flags off a type.
const typeMask = 0x3fff

var errMalformed = errors.New("malformed attribute")

// nextAttribute takes the first attribute off b. The rest begins at the next
// multiple of four bytes; the last attribute may lack that padding.
func nextAttribute(b []byte) (kind uint16, value, rest []byte, err error) {
	if len(b) < attributeHeader {
		return 0, nil, nil, errMalformed
	}
	length := int(binary.NativeEndian.Uint16(b))
	if length < attributeHeader || length > len(b) {
		return 0, nil, nil, errMalformed
	}
	kind = binary.NativeEndian.Uint16(b[2:]) & typeMask
	return kind, b[attributeHeader:length], b[min(align4(length), len(b)):], nil
}

func align4(n int) int { return (n + 3) &^ 3 }

// appendUint32 adds an attribute of 32 bits in network order, the order of
// all of ctnetlink's numbers.
func appendUint32(b []byte, kind uint16, value uint32) []byte {
	b = binary.NativeEndian.AppendUint16(b, attributeHeader+4)
	b = binary.NativeEndian.AppendUint16(b, kind)
	return binary.BigEndian.AppendUint32(b, value)
}

// appendUint16 is appendUint32 for 16 bits and their padding.
func appendUint16(b []byte, kind uint16, value uint16) []byte {
	b = binary.NativeEndian.AppendUint16(b, attributeHeader+2)
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint16(b, value)
	return append(b, 0, 0)
}

func uint8Of(value []byte, to *uint8) error {
	if len(value) < 1 {
		return errMalformed
	}
	*to = value[0]
	return nil
}

func uint16Of(value []byte, to *uint16) error {
	if len(value) < 2 {
		return errMalformed
	}
	*to = binary.BigEndian.Uint16(value)
	return nil
}

func uint32Of(value []byte, to *uint32) error {
	if len(value) < 4 {
		return errMalformed
	}
	*to = binary.BigEndian.Uint32(value)
	return nil
}
