package census

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// mapped is what stands before an IPv4 address in a word: it is mapped into
// IPv6 (RFC 4291 section 2.5.5.2), which no entry of IPv6 uses.
const mapped = 0xffff << 32

func wordOf(a netip.Addr) word {
	b := a.As16()
	return word{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

func (w word) isIPv4() bool { return w.hi == 0 && w.lo>>32<<32 == mapped }

func (w word) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], w.hi)
	binary.BigEndian.PutUint64(b[8:], w.lo)
	return netip.AddrFrom16(b).Unmap()
}

// network is the /24 of an IPv4 address or the /64 of an IPv6 one.
func (w word) network() word {
	if w.isIPv4() {
		return word{0, w.lo &^ 0xff}
	}
	return word{w.hi, 0}
}

func (w word) prefix() netip.Prefix {
	bits := 64
	if w.isIPv4() {
		bits = 24
	}
	return netip.PrefixFrom(w.addr(), bits)
}

// A Port is a port of a protocol. Its text is as in "tcp/443".
type Port struct {
	Proto  uint8
	Number uint16
}

// String is the text of MarshalText.
func (p Port) String() string {
	return conntrack.ProtoName(p.Proto) + "/" + strconv.Itoa(int(p.Number))
}

// MarshalText implements encoding.TextMarshaler.
func (p Port) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Port) UnmarshalText(text []byte) error {
	name, digits, _ := strings.Cut(string(text), "/")
	proto, err := conntrack.ParseProto(name)
	if err != nil {
		return err
	}
	number, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return fmt.Errorf("port %q: not a number from 0 to 65535", digits)
	}
	*p = Port{proto, uint16(number)}
	return nil
}

func (p Port) word() word { return word{uint64(p.Proto), uint64(p.Number)} }

func (w word) port() Port { return Port{uint8(w.hi), uint16(w.lo)} }

func (w word) zone() uint16 { return uint16(w.lo) }
