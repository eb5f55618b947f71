package conntrack

import (
	"strconv"
	"strings"
)

// A MessageKind is what a kernel message is about. The zero MessageKind is no
// message about connection tracking.
type MessageKind uint8

// The kinds of messages.
const (
	NoMessage MessageKind = iota
	// TableFull: a packet was dropped, or a ctnetlink create refused, because
	// the table was at max and no entry could be evicted. It is limited to a
	// few lines for all of networking (net.core.message_burst in
	// net.core.message_cost seconds), so it triggers and never measures. See
	// __nf_conntrack_alloc in net/netfilter/nf_conntrack_core.c.
	TableFull
	// ExpectationTableFull: nf_conntrack_expect_max is reached; the table
	// itself need not be. See __nf_ct_expect_check in
	// net/netfilter/nf_conntrack_expect.c.
	ExpectationTableFull
	// Suppressed: N lines of any part of networking were withheld. The kernel
	// prints it when the next line comes, possibly hours later, so it never
	// means that packets are being dropped now. See ___ratelimit in
	// lib/ratelimit.c.
	Suppressed
	// ModuleLoaded: an old kernel (3.10) loaded nf_conntrack with N buckets.
	ModuleLoaded
	// HashVmalloc: an old kernel (3.10) could not get contiguous memory for
	// the hash table; it works all the same.
	HashVmalloc
	// HelpersOff: automatic helper assignment is off (Linux 4.15 to 5.19).
	HelpersOff
	numMessageKinds
)

// String returns the kind in the words of an audit record.
func (k MessageKind) String() string {
	names := [numMessageKinds]string{
		NoMessage:            "none",
		TableFull:            "table full",
		ExpectationTableFull: "expectation table full",
		Suppressed:           "lines suppressed",
		ModuleLoaded:         "module loaded",
		HashVmalloc:          "hash in vmalloc",
		HelpersOff:           "helpers off",
	}
	if k >= numMessageKinds {
		return names[NoMessage]
	}
	return names[k]
}

// A Message is one line of the kernel about connection tracking.
type Message struct {
	Kind MessageKind
	// NetNS is the inode number of the namespace of a TableFull line, where
	// the kernel named it.
	NetNS uint32
	// Named is true if the kernel named the namespace. Linux 6.17 and later
	// name every namespace but the initial one; older kernels name none, and
	// the line may come from any.
	Named bool
	// N is the number of lines Suppressed, or of buckets at ModuleLoaded.
	N uint64
}

const (
	corePrefix   = "nf_conntrack: "
	fullText     = "table full, dropping packet"
	fullIn       = "table full in netns "
	fullInEnd    = ", dropping packet"
	legacyPrefix = "ip_conntrack: "
	helpersOne   = "nf_conntrack: default automatic helper assignment has been turned off for security reasons and CT-based "
	helpersTwo   = "firewall rule not found. Use the iptables CT target to attach helpers instead."
)

// ParseMessage reads one line of the kernel log, without the prefix of the
// log's own format and without its newline. It reports false for a line that
// is not, from its first to its last byte, what a kernel prints: text that
// merely contains such a message is from another program.
func ParseMessage(line string) (Message, bool) {
	if rest, ok := strings.CutPrefix(line, legacyPrefix); ok {
		if strings.TrimSuffix(rest, ".") == fullText {
			return Message{Kind: TableFull}, true
		}
		return Message{}, false
	}
	if m, ok := parseCount(line); ok {
		return m, true
	}
	if line == helpersOne+helpersTwo || line == helpersOne+" "+helpersTwo {
		return Message{Kind: HelpersOff}, true
	}
	rest, ok := strings.CutPrefix(line, corePrefix)
	if !ok {
		return Message{}, false
	}
	// nf_conntrack_core.c has the prefix twice since it has both a pr_fmt and
	// a literal one; Linux 4.4 and RHEL 7 print it once.
	return parseCore(strings.TrimPrefix(rest, corePrefix))
}

func parseCore(text string) (Message, bool) {
	switch text {
	case fullText:
		return Message{Kind: TableFull}, true
	case "expectation table full":
		return Message{Kind: ExpectationTableFull}, true
	case "falling back to vmalloc.":
		return Message{Kind: HashVmalloc}, true
	}
	inode, ok := between(text, fullIn, fullInEnd)
	if !ok {
		return Message{}, false
	}
	n, ok := parseDecimal(inode, 32)
	if !ok || n == 0 {
		return Message{}, false
	}
	return Message{Kind: TableFull, NetNS: uint32(n), Named: true}, true
}

func parseCount(line string) (Message, bool) {
	if n, ok := between(line, "net_ratelimit: ", " callbacks suppressed"); ok {
		return counted(Suppressed, n)
	}
	if n, ok := between(line, "printk: ", " messages suppressed."); ok {
		return counted(Suppressed, n)
	}
	sizes, ok := between(line, "nf_conntrack version 0.5.0 (", " max)")
	if !ok {
		return Message{}, false
	}
	buckets, most, ok := strings.Cut(sizes, " buckets, ")
	if !ok {
		return Message{}, false
	}
	if _, ok := parseDecimal(most, 32); !ok {
		return Message{}, false
	}
	return counted(ModuleLoaded, buckets)
}

func counted(kind MessageKind, digits string) (Message, bool) {
	n, ok := parseDecimal(digits, 32)
	if !ok {
		return Message{}, false
	}
	return Message{Kind: kind, N: n}, true
}

// between returns what stands between prefix and suffix, which must not
// overlap.
func between(text, prefix, suffix string) (string, bool) {
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, suffix)
}

// parseDecimal reads a number as the kernel's %u and %d print it: digits only,
// no sign, no leading zero.
func parseDecimal(digits string, bits int) (uint64, bool) {
	if digits == "" || len(digits) > 1 && digits[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, bits) // takes no sign either
	return n, err == nil
}
