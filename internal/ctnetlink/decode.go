package ctnetlink

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Key identifies one entry in the kernel. Only a Dump makes one, and its bytes
// are valid until the callback returns.
type Key struct {
	tuple  []byte // the whole CTA_TUPLE_ORIG attribute as the kernel wrote it
	family uint8
	zone   uint16 // CTA_ZONE; a zone of one direction stands in the tuple
	id     uint32 // CTA_ID: a hash, so two entries of a large table can share one
	hasID  bool
}

// decode reads the message of one entry into e and k, from its nfgenmsg on.
// It allocates nothing. An attribute that it does not know is skipped, one
// that is cut short is an error, whatever the kernel may do with it.
func decode(payload []byte, e *conntrack.Entry, k *Key) error {
	*e, *k = conntrack.Entry{}, Key{}
	if len(payload) < netfilterBytes {
		return errMalformed
	}
	e.Family = payload[0]
	k.family = payload[0]
	var status, timeout bool
	for b := payload[netfilterBytes:]; len(b) > 0; {
		kind, value, rest, err := nextAttribute(b)
		if err != nil {
			return err
		}
		switch kind {
		case ctaTupleOrig:
			k.tuple = b[:attributeHeader+len(value)]
		case ctaStatus:
			status = true
		case ctaTimeout:
			timeout = true
		}
		if err := decodeAttribute(kind, value, e, k); err != nil {
			return fmt.Errorf("attribute %d: %w", kind, err)
		}
		b = rest
	}
	if k.tuple == nil || !status {
		// Without a status every entry would count as unreplied.
		return errIncomplete
	}
	if !timeout {
		// ctnetlink_dump_info leaves the timeout of an offloaded entry out. It
		// reads the status twice: an entry that is offloaded in between has
		// neither a timeout nor the offload bit, and would count as long idle.
		e.Status |= conntrack.StatusOffload
	}
	return nil
}

func decodeAttribute(kind uint16, value []byte, e *conntrack.Entry, k *Key) error {
	switch kind {
	case ctaTupleOrig:
		return decodeTuple(value, &e.Orig, e)
	case ctaTupleReply:
		return decodeTuple(value, &e.Reply, e)
	case ctaStatus:
		return uint32Of(value, (*uint32)(&e.Status))
	case ctaProtoInfo:
		return decodeProtoInfo(value, e)
	case ctaHelp:
		e.HasHelper = true
	case ctaTimeout:
		return uint32Of(value, &e.Timeout)
	case ctaMark:
		return uint32Of(value, &e.Mark)
	case ctaID:
		k.hasID = true
		err := uint32Of(value, &k.id)
		e.ID = k.id
		return err
	case ctaTupleMaster:
		e.HasMaster = true
	case ctaZone:
		err := uint16Of(value, &k.zone)
		e.Zone = k.zone
		return err
	case ctaTimestamp:
		return decodeTimestamp(value, e)
	}
	return nil
}

// decodeTuple reads one direction. A zone that is bound to the direction
// becomes the zone of the entry.
func decodeTuple(b []byte, t *conntrack.Tuple, e *conntrack.Entry) error {
	for len(b) > 0 {
		kind, value, rest, err := nextAttribute(b)
		if err != nil {
			return err
		}
		switch kind {
		case ctaTupleIP:
			err = decodeAddresses(value, t)
		case ctaTupleProto:
			err = decodeProto(value, t, e)
		case ctaTupleZone:
			err = uint16Of(value, &e.Zone)
		}
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func decodeAddresses(b []byte, t *conntrack.Tuple) error {
	for len(b) > 0 {
		kind, value, rest, err := nextAttribute(b)
		if err != nil {
			return err
		}
		switch kind {
		case ctaIPv4Src, ctaIPv6Src:
			err = decodeAddress(kind == ctaIPv4Src, value, &t.Src)
		case ctaIPv4Dst, ctaIPv6Dst:
			err = decodeAddress(kind == ctaIPv4Dst, value, &t.Dst)
		}
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func decodeAddress(four bool, value []byte, to *netip.Addr) error {
	switch {
	case four && len(value) == 4:
		*to = netip.AddrFrom4([4]byte(value))
	case !four && len(value) == 16:
		*to = netip.AddrFrom16([16]byte(value))
	default:
		return errMalformed
	}
	return nil
}

func decodeProto(b []byte, t *conntrack.Tuple, e *conntrack.Entry) error {
	for len(b) > 0 {
		kind, value, rest, err := nextAttribute(b)
		if err != nil {
			return err
		}
		switch kind {
		case ctaProtoNum:
			err = uint8Of(value, &e.Proto)
		case ctaProtoSrcPort:
			err = uint16Of(value, &t.SrcPort)
		case ctaProtoDstPort:
			err = uint16Of(value, &t.DstPort)
		case ctaProtoICMPID, ctaProtoICMPv6ID:
			err = uint16Of(value, &t.ICMPID)
		case ctaProtoICMPType, ctaProtoICMPv6Type:
			err = uint8Of(value, &t.ICMPType)
		case ctaProtoICMPCode, ctaProtoICMPv6Code:
			err = uint8Of(value, &t.ICMPCode)
		}
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// decodeProtoInfo reads the TCP state; SCTP and DCCP have nests of their own,
// which ctwarden does not read.
func decodeProtoInfo(b []byte, e *conntrack.Entry) error {
	for len(b) > 0 {
		kind, value, rest, err := nextAttribute(b)
		if err != nil {
			return err
		}
		if kind == ctaProtoInfoTCP {
			if err := decodeTCP(value, e); err != nil {
				return err
			}
		}
		b = rest
	}
	return nil
}

// decodeTCP reads the state. One that this program does not know becomes
// NONE, so that a state can always index an array of NumTCPStates.
func decodeTCP(b []byte, e *conntrack.Entry) error {
	for len(b) > 0 {
		kind, value, rest, err := nextAttribute(b)
		if err != nil {
			return err
		}
		if kind == ctaProtoInfoTCPState {
			if err := uint8Of(value, (*uint8)(&e.State)); err != nil {
				return err
			}
			if e.State >= conntrack.NumTCPStates {
				e.State = conntrack.StateNone
			}
		}
		b = rest
	}
	return nil
}

func decodeTimestamp(b []byte, e *conntrack.Entry) error {
	for len(b) > 0 {
		kind, value, rest, err := nextAttribute(b)
		if err != nil {
			return err
		}
		if kind == ctaTimestampStart {
			if len(value) < 8 {
				return errMalformed
			}
			e.Start = binary.BigEndian.Uint64(value)
		}
		b = rest
	}
	return nil
}
