package conntrack

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

var (
	errNoEntry  = errors.New("not an entry of a table")
	errCutShort = errors.New("the entry is cut short")
)

// ParseEntry reads a line of /proc/net/nf_conntrack or of conntrack -L, with
// or without -o extended. It skips words that it does not know: kernels and
// configurations differ (packets=, secctx=, delta-time=, labels=).
//
// A field that such a line does not have keeps its zero value: that the entry was
// expected by another (HasMaster), its fixed timeout, and in procfs its
// helper. That it is translated follows from tuples which do not mirror each
// other.
func ParseEntry(line string) (Entry, error) {
	p := entryLine{rest: line}
	if err := p.head(); err != nil {
		return Entry{}, err
	}
	for word := p.next(); word != ""; word = p.next() {
		if err := p.word(word); err != nil {
			return Entry{}, err
		}
	}
	return p.end()
}

// An entryLine is a line that is being read.
type entryLine struct {
	Entry
	rest      string
	told      uint8  // the family that the line began with, if any
	tuple     *Tuple // the one that is being read
	tuples    int
	icmpID    bool // the tuple has its ICMP id: a later id= is that of the entry
	unreplied bool
}

// next returns the next word, or "" at the end.
func (p *entryLine) next() string {
	s := strings.TrimLeft(p.rest, " \t\r\n")
	end := strings.IndexAny(s, " \t\r\n")
	if end < 0 {
		end = len(s)
	}
	p.rest = s[end:]
	return s[:end]
}

// head reads what stands before the first tuple: "ipv4 2", which may be
// missing, "tcp 6", the time left, which offloaded entries lack, and the
// state of some protocols.
func (p *entryLine) head() error {
	word := p.next()
	switch word {
	case "ipv4", "ipv6":
		if p.told = IPv4; word == "ipv6" {
			p.told = IPv6
		}
		p.next()
		word = p.next()
	}
	number, err := strconv.ParseUint(p.next(), 10, 8)
	if err != nil || word == "" || word[0] == '[' {
		return errNoEntry
	}
	p.Proto = uint8(number)
	before := p.rest
	for word = p.next(); word != "" && !strings.Contains(word, "=") && word[0] != '['; word = p.next() {
		if err := p.timeOrState(word); err != nil {
			return err
		}
		before = p.rest
	}
	p.rest = before
	return nil
}

func (p *entryLine) timeOrState(word string) error {
	if word[0] < '0' || word[0] > '9' {
		if p.Proto == ProtoTCP {
			// A state that is not known is none, as in a dump.
			p.State, _ = ParseTCPState(word)
		}
		return nil
	}
	left, err := strconv.ParseUint(word, 10, 32)
	if err != nil {
		return fmt.Errorf("time left %.40q: %w", word, errNoEntry)
	}
	p.Timeout = uint32(left)
	return nil
}

func (p *entryLine) word(word string) error {
	key, value, pair := strings.Cut(word, "=")
	if !pair {
		p.flag(word)
		return nil
	}
	if key == "src" {
		p.begin()
	}
	err := p.pair(key, value)
	if err != nil {
		return fmt.Errorf("%.40q: %w", word, err)
	}
	return nil
}

func (p *entryLine) flag(word string) {
	switch word {
	case "[UNREPLIED]":
		p.unreplied = true
	case "[ASSURED]":
		p.Status |= StatusAssured
	case "[OFFLOAD]":
		p.Status |= StatusOffload
	case "[HW_OFFLOAD]":
		p.Status |= StatusOffload | StatusHWOffload
	}
}

// begin starts a tuple. A third one is read into nothing, and end refuses the
// line.
func (p *entryLine) begin() {
	p.tuples++
	p.icmpID = false
	switch p.tuples {
	case 1:
		p.tuple = &p.Orig
	case 2:
		p.tuple = &p.Reply
	default:
		p.tuple = &Tuple{}
	}
}

func (p *entryLine) pair(key, value string) (err error) {
	switch key {
	case "mark":
		return number(value, &p.Mark)
	case "zone", "zone-orig", "zone-reply":
		return number(value, &p.Zone)
	case "helper":
		p.HasHelper = true
	case "id":
		if (p.Proto == ProtoICMP || p.Proto == ProtoICMPv6) && p.tuple != nil && !p.icmpID {
			p.icmpID = true
			return number(value, &p.tuple.ICMPID)
		}
		return number(value, &p.ID)
	}
	if p.tuple == nil {
		return nil
	}
	switch key {
	case "src":
		p.tuple.Src, err = parseAddr(value)
	case "dst":
		p.tuple.Dst, err = parseAddr(value)
	case "sport", "srckey":
		err = number(value, &p.tuple.SrcPort)
	case "dport", "dstkey":
		err = number(value, &p.tuple.DstPort)
	case "type":
		err = number(value, &p.tuple.ICMPType)
	case "code":
		err = number(value, &p.tuple.ICMPCode)
	}
	return err
}

// number reads a number that fits, in decimal or after 0x.
func number[T uint8 | uint16 | uint32](text string, to *T) error {
	n, err := strconv.ParseUint(text, 0, 32)
	if err != nil {
		return errNoEntry
	}
	if *to = T(n); uint64(*to) != n {
		return errNoEntry
	}
	return nil
}

func parseAddr(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, errNoEntry
	}
	return a, nil
}

// end checks that the line was whole.
func (p *entryLine) end() (Entry, error) {
	p.Family = IPv4
	if p.Orig.Src.Is6() {
		p.Family = IPv6
	}
	for _, a := range [...]netip.Addr{p.Orig.Src, p.Orig.Dst, p.Reply.Src, p.Reply.Dst} {
		if !a.IsValid() {
			return Entry{}, errCutShort
		}
		if a.Is6() != (p.Family == IPv6) {
			return Entry{}, errNoEntry
		}
	}
	if p.tuples > 2 || (p.told != 0 && p.told != p.Family) {
		return Entry{}, errNoEntry
	}
	p.Status |= StatusConfirmed
	if !p.unreplied {
		p.Status |= StatusSeenReply
	}
	p.translated()
	return p.Entry, nil
}

// translated finds out by the tuples what the kernel has as IPS_SRC_NAT and
// IPS_DST_NAT: without translation one mirrors the other.
func (p *entryLine) translated() {
	o, r := &p.Orig, &p.Reply
	if o.Src != r.Dst {
		p.Status |= StatusSrcNAT
	}
	if o.Dst != r.Src {
		p.Status |= StatusDstNAT
	}
	if p.Proto == ProtoICMP || p.Proto == ProtoICMPv6 {
		if o.ICMPID != r.ICMPID {
			p.Status |= StatusSrcNAT
		}
		return
	}
	if o.SrcPort != r.DstPort {
		p.Status |= StatusSrcNAT
	}
	if o.DstPort != r.SrcPort {
		p.Status |= StatusDstNAT
	}
}
