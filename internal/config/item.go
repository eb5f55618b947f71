package config

import (
	"fmt"
	"math"
	"net/netip"
	pattern "path"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// parseNetwork takes a network or one address. A network with host bits is
// refused: 10.1.2.3/8 is more often a slip than a wish for 10.0.0.0/8. So is
// IPv4 written as IPv6, which would match no entry.
func parseNetwork(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), a.Zone() == "" && !a.Is4In6()
	}
	p, err := netip.ParsePrefix(text)
	return p, err == nil && p == p.Masked() && !p.Addr().Is4In6()
}

// parsePorts takes a port or a range of ports, such as 8000-8010.
func parsePorts(text string) (conntrack.PortRange, bool) {
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	a, ok1 := parse16(first)
	b, ok2 := parse16(last)
	return conntrack.PortRange{First: a, Last: b}, ok1 && ok2 && a > 0 && a <= b
}

func formatPorts(p conntrack.PortRange) string {
	if p.First == p.Last {
		return formatUint16(p.First)
	}
	return formatUint16(p.First) + "-" + formatUint16(p.Last)
}

// parseMark takes a mark and perhaps a mask, as iptables writes them: 0x1/0xff.
// Bits of the mark that its mask hides could never match.
func parseMark(text string) (conntrack.Mark, bool) {
	value, mask, masked := strings.Cut(text, "/")
	if !masked {
		v, ok := parse32(value)
		return conntrack.Mark{Value: v, Mask: math.MaxUint32}, ok
	}
	v, ok1 := parse32(value)
	m, ok2 := parse32(mask)
	return conntrack.Mark{Value: v, Mask: m}, ok1 && ok2 && m != 0 && v&^m == 0
}

func formatMark(m conntrack.Mark) string {
	text := "0x" + strconv.FormatUint(uint64(m.Value), 16)
	if m.Mask != math.MaxUint32 {
		text += "/0x" + strconv.FormatUint(uint64(m.Mask), 16)
	}
	return text
}

func parse16(text string) (uint16, bool) {
	n, ok := parseCount(text)
	return uint16(n), ok && n <= math.MaxUint16
}

func formatUint16(n uint16) string { return strconv.FormatUint(uint64(n), 10) }

// parse32 takes a decimal number or, after 0x, a hexadecimal one.
func parse32(text string) (uint32, bool) {
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		n, err := strconv.ParseUint(digits, 16, 32)
		return uint32(n), err == nil
	}
	n, ok := parseCount(text)
	return uint32(n), ok && n <= math.MaxUint32
}

const namePattern = `a name, with * and ? as wildcards, such as web-*`

// parsePattern takes a pattern as path.Match does.
func parsePattern(text string) (string, bool) {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	_, err := pattern.Match(text, "")
	return text, err == nil && text != "" && len(text) <= 256 && utf8.ValidString(text) && !strings.ContainsFunc(text, odd)
}

func plainText(text string) string { return text }

// path makes the key of an absolute path of at most so many bytes.
func path(name string, most int, field func(*Config) *string, doc string) key {
	return key{
		path: name, doc: doc,
		expect: fmt.Sprintf(`an absolute path of at most %d bytes, without "..", "//" or a slash at its end`, most),
		span:   "an absolute path",
		accept: func(text string) bool { return len(text) <= most && cleanPath(text) },
		set:    func(c *Config, texts []string) { *field(c) = texts[0] },
		get:    func(c *Config) []string { return []string{*field(c)} },
	}
}

// cleanPath reports whether text is a clean, absolute, printable path.
func cleanPath(text string) bool {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	return utf8.ValidString(text) && !strings.ContainsFunc(text, odd) &&
		filepath.IsAbs(text) && filepath.Clean(text) == text && text != "/"
}

// orNothing makes the key of a path that ends in suffix, "" for any, or is left
// out.
func orNothing(k key, suffix string) key {
	inner := k.accept
	k.expect, k.span = `"" (none) or the clean absolute path of a file`, ""
	if suffix != "" {
		k.expect += " that ends in " + suffix
	}
	k.accept = func(text string) bool { return text == "" || inner(text) && strings.HasSuffix(text, suffix) }
	return k
}

// address makes the key of an IP address with a port, or nothing. A name is
// refused: the resolver must not decide the address.
func address(name string, field func(*Config) *string, doc string) key {
	return key{
		path: name, doc: doc, expect: `"" (none) or an IP address with a port, such as 127.0.0.1:9871 or [::1]:9871`,
		accept: func(text string) bool {
			at, err := netip.ParseAddrPort(text)
			return text == "" || err == nil && at.Port() != 0 && at.String() == text
		},
		set: func(c *Config, texts []string) { *field(c) = texts[0] },
		get: func(c *Config) []string { return []string{*field(c)} },
	}
}
