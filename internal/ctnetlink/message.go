package ctnetlink

import (
	"encoding/binary"
	"errors"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/netfilter"
)

// The messages of ctnetlink: enum cntl_msg_types.
const (
	msgNew      = 0
	msgGet      = 1
	msgDelete   = 2
	msgStatsCPU = 4
	msgStats    = 5
)

const (
	messageHeader  = 16 // struct nlmsghdr
	netfilterBytes = 4  // struct nfgenmsg: family, version, resource id
)

func messageType(msg uint16) uint16 {
	return uint16(netfilter.NFSubsysCTNetlink)<<8 | msg
}

var errFraming = errors.New("malformed netlink message")

// A message is one netlink message of a datagram. Its payload is a part of
// the datagram's buffer.
type message struct {
	kind    netlink.HeaderType
	flags   netlink.HeaderFlags
	seq     uint32
	payload []byte
}

// nextMessage takes the first message off a datagram.
func nextMessage(b []byte) (m message, rest []byte, err error) {
	if len(b) < messageHeader {
		return message{}, nil, errFraming
	}
	length := binary.NativeEndian.Uint32(b)
	if length < messageHeader || uint64(length) > uint64(len(b)) {
		return message{}, nil, errFraming
	}
	m = message{
		kind:    netlink.HeaderType(binary.NativeEndian.Uint16(b[4:])),
		flags:   netlink.HeaderFlags(binary.NativeEndian.Uint16(b[6:])),
		seq:     binary.NativeEndian.Uint32(b[8:]),
		payload: b[messageHeader:length],
	}
	return m, b[min(align4(int(length)), len(b)):], nil
}

// errno is the error that a NLMSG_ERROR or NLMSG_DONE message carries: 0 or a
// positive number. Old kernels end some dumps with an empty NLMSG_DONE.
func (m message) errno() (uint32, error) {
	if len(m.payload) == 0 && m.kind == netlink.Done {
		return 0, nil
	}
	if len(m.payload) < 4 {
		return 0, errFraming
	}
	code := int32(binary.NativeEndian.Uint32(m.payload))
	if code > 0 {
		return 0, nil // a positive NLMSG_DONE is a length, not an error
	}
	return uint32(-int64(code)), nil
}

// beginMessage adds the two headers of a message to b; endMessage sets the
// length. The sequence number is set when the message is sent.
func beginMessage(b []byte, msg uint16, flags netlink.HeaderFlags, family uint8) []byte {
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint16(b, messageType(msg))
	b = binary.NativeEndian.AppendUint16(b, uint16(flags))
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0) // sequence and port
	return append(b, family, 0, 0, 0)
}

func endMessage(b []byte, start int) {
	binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start))
}

func setSequence(b []byte, seq uint32) { binary.NativeEndian.PutUint32(b[8:], seq) }

func setFlags(b []byte, flags netlink.HeaderFlags) {
	binary.NativeEndian.PutUint16(b[6:], uint16(flags))
}
