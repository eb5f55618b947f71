package conntrack_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/google/go-cmp/cmp"
)

const helpersOff = "nf_conntrack: default automatic helper assignment has been turned off for security reasons " +
	"and CT-based firewall rule not found. Use the iptables CT target to attach helpers instead."

func TestParseMessage(t *testing.T) {
	full := conntrack.Message{Kind: conntrack.TableFull}
	for _, c := range []struct {
		name, line string
		want       conntrack.Message
	}{
		{"linux 4.4 and RHEL 7 print the prefix once", "nf_conntrack: table full, dropping packet", full},
		{"linux 4.15 and later print it twice", "nf_conntrack: nf_conntrack: table full, dropping packet", full},
		{
			"linux 6.17 names the namespace", "nf_conntrack: nf_conntrack: table full in netns 4026532177, dropping packet",
			conntrack.Message{Kind: conntrack.TableFull, NetNS: 4026532177, Named: true},
		},
		{
			"the largest inode number", "nf_conntrack: nf_conntrack: table full in netns 4294967295, dropping packet",
			conntrack.Message{Kind: conntrack.TableFull, NetNS: 4294967295, Named: true},
		},
		{
			"the namespace with one prefix", "nf_conntrack: table full in netns 7, dropping packet",
			conntrack.Message{Kind: conntrack.TableFull, NetNS: 7, Named: true},
		},
		{"linux 2.6 ends with a dot", "ip_conntrack: table full, dropping packet.", full},
		{"linux 2.4 without the dot", "ip_conntrack: table full, dropping packet", full},
		{"the expectation table", "nf_conntrack: expectation table full", conntrack.Message{Kind: conntrack.ExpectationTableFull}},
		{"RHEL 7 has no contiguous memory", "nf_conntrack: falling back to vmalloc.", conntrack.Message{Kind: conntrack.HashVmalloc}},
		{
			"RHEL 7 loads the module", "nf_conntrack version 0.5.0 (65536 buckets, 262144 max)",
			conntrack.Message{Kind: conntrack.ModuleLoaded, N: 65536},
		},
		{"helpers are off", helpersOff, conntrack.Message{Kind: conntrack.HelpersOff}},
		{
			"helpers are off, with the older double space", strings.Replace(helpersOff, "based firewall", "based  firewall", 1),
			conntrack.Message{Kind: conntrack.HelpersOff},
		},
		{
			"lines were suppressed", "net_ratelimit: 6464 callbacks suppressed",
			conntrack.Message{Kind: conntrack.Suppressed, N: 6464},
		},
		{"lines were suppressed, long ago", "printk: 12 messages suppressed.", conntrack.Message{Kind: conntrack.Suppressed, N: 12}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := conntrack.ParseMessage(c.line)
			if !ok {
				t.Fatalf("ParseMessage(%q) does not know the line", c.line)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("ParseMessage(%q) (-want +got):\n%s", c.line, diff)
			}
		})
	}
}

// forgeries are lines that no kernel prints as a whole.
func forgeries() map[string]string {
	return map[string]string{
		"nothing":                             "",
		"a prefix alone":                      "nf_conntrack: ",
		"text before the line":                "app: nf_conntrack: table full, dropping packet",
		"a space before the line":             " nf_conntrack: table full, dropping packet",
		"text after the line":                 "nf_conntrack: nf_conntrack: table full, dropping packet from eve",
		"a final dot on the newer line":       "nf_conntrack: table full, dropping packet.",
		"two dots on the oldest line":         "ip_conntrack: table full, dropping packet..",
		"the oldest line with two prefixes":   "ip_conntrack: ip_conntrack: table full, dropping packet",
		"the oldest line with a namespace":    "ip_conntrack: table full in netns 4026532177, dropping packet",
		"three prefixes":                      "nf_conntrack: nf_conntrack: nf_conntrack: table full, dropping packet",
		"a newline inside":                    "nf_conntrack: table full,\ndropping packet",
		"a newline at the end":                "nf_conntrack: table full, dropping packet\n",
		"a second line":                       "nf_conntrack: table full, dropping packet\n SUBSYSTEM=net",
		"another case":                        "nf_conntrack: Table full, dropping packet",
		"no namespace":                        "nf_conntrack: nf_conntrack: table full in netns , dropping packet",
		"namespace zero":                      "nf_conntrack: nf_conntrack: table full in netns 0, dropping packet",
		"a leading zero":                      "nf_conntrack: nf_conntrack: table full in netns 04026532177, dropping packet",
		"a sign":                              "nf_conntrack: nf_conntrack: table full in netns +4026532177, dropping packet",
		"a negative namespace":                "nf_conntrack: nf_conntrack: table full in netns -1, dropping packet",
		"a namespace in hex":                  "nf_conntrack: nf_conntrack: table full in netns 0xf0000001, dropping packet",
		"a namespace of 33 bits":              "nf_conntrack: nf_conntrack: table full in netns 4294967296, dropping packet",
		"a namespace with an underscore":      "nf_conntrack: nf_conntrack: table full in netns 1_000, dropping packet",
		"a namespace and no end":              "nf_conntrack: nf_conntrack: table full in netns 4026532177",
		"prefix and end overlap":              "nf_conntrack: nf_conntrack: table full in netns, dropping packet",
		"the expectation table of the oldest": "ip_conntrack: expectation table full",
		"another limiter":                     "net_ratelimit: many callbacks suppressed",
		"a limiter without its number":        "net_ratelimit:  callbacks suppressed",
		"a module of another version":         "nf_conntrack version 9.9.9 (65536 buckets, 262144 max)",
		"a module with a broken max":          "nf_conntrack version 0.5.0 (65536 buckets, lots max)",
		"a module without buckets":            "nf_conntrack version 0.5.0 (65536 max)",
		"64 KiB of prefixes":                  strings.Repeat("nf_conntrack: ", 4681),
		"a line that swallowed another":       "nf_conntrack: expectation table full, dropping packet",
	}
}

func TestParseMessageRefusesForgeries(t *testing.T) {
	for name, line := range forgeries() {
		t.Run(name, func(t *testing.T) {
			if got, ok := conntrack.ParseMessage(line); ok || got != (conntrack.Message{}) {
				t.Errorf("ParseMessage(%.80q) = %+v, %v, want nothing", line, got, ok)
			}
		})
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add("nf_conntrack: nf_conntrack: table full, dropping packet")
	f.Add("nf_conntrack: nf_conntrack: table full in netns 4026532177, dropping packet")
	f.Add("net_ratelimit: 6464 callbacks suppressed")
	f.Add("nf_conntrack version 0.5.0 (65536 buckets, 262144 max)")
	f.Add(helpersOff)
	for _, line := range forgeries() {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		m, ok := conntrack.ParseMessage(line)
		if !ok {
			return
		}
		if m.Kind == conntrack.NoMessage || m.Kind.String() == "none" {
			t.Errorf("ParseMessage(%q) knows the line and has no kind", line)
		}
		if m.Named != (m.NetNS != 0) {
			t.Errorf("ParseMessage(%q) = %+v: named without a namespace, or the reverse", line, m)
		}
		if conntrack.Printable(line, 1<<10) != line {
			t.Errorf("ParseMessage(%q) accepts a line that is not plain text", line)
		}
		for _, other := range []string{line + " ", " " + line, line + "x"} {
			if _, ok := conntrack.ParseMessage(other); ok {
				t.Errorf("ParseMessage(%q) is not anchored", other)
			}
		}
	})
}

func TestMessageKindsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for k := conntrack.NoMessage; k <= conntrack.HelpersOff; k++ {
		if seen[k.String()] || k.String() == "" {
			t.Errorf("kind %d has the name %q of another", k, k)
		}
		seen[k.String()] = true
	}
	if got := conntrack.MessageKind(200).String(); got != "none" {
		t.Errorf("an unknown kind says %q, want none", got)
	}
}

func TestPrintable(t *testing.T) {
	for _, c := range []struct {
		name, text string
		most       int
		want       string
	}{
		{"clean text stays", "table full, dropping packet", 80, "table full, dropping packet"},
		{"letters of any language stay", "Zürich 東京", 80, "Zürich 東京"},
		{"a terminal escape is spelled out", "a\x1b[31mred", 80, `a\x1b[31mred`},
		{"a newline cannot start a second line", "a\nb\r\tc", 80, `a\x0ab\x0d\x09c`},
		{"delete and C1 controls", "\x7f\u009b1m", 80, `\x7f\u009b1m`},
		{"a bidirectional override", "a\u202egpj", 80, `a\u202egpj`},
		{"a line separator", "a\u2028b", 80, `a\u2028b`},
		{"a tag beyond the basic plane", "a\U000e0041", 80, `a\U000e0041`},
		{"a broken byte", "a\xffb", 80, `a\xffb`},
		{"the replacement rune itself stays", "a\ufffdb", 80, "a\ufffdb"},
		{"text that just fits is not cut", "abcdef", 6, "abcdef"},
		{"text that does not fit says so", "abcdefg", 6, "abc…"},
		{"a rune is not cut in half", "aéééé", 7, "aé…"},
		{"an escape is not cut in half", "abc\x1bdef", 8, "abc…"},
		{"an escape that just fits", "ab\x1b", 6, `ab\x1b`},
		{"no room at all", "abcdefg", -1, "…"},
		{"nothing", "", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, conntrack.Printable(c.text, c.most)); diff != "" {
				t.Errorf("Printable(%q, %d) (-want +got):\n%s", c.text, c.most, diff)
			}
		})
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("plain", 10)
	f.Add("\x1b]0;title\x07", 12)
	f.Add(strings.Repeat("\x00", 64<<10), 4096)
	f.Add("a\xc3", 4)
	f.Fuzz(func(t *testing.T, text string, most int) {
		got := conntrack.Printable(text, most)
		if len(got) > max(most, len(conntrack.Ellipsis)) {
			t.Errorf("Printable(%q, %d) has %d bytes", text, most, len(got))
		}
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("Printable(%q, %d) = %q is not printable", text, most, got)
		}
		if again := conntrack.Printable(got, most); again != got {
			t.Errorf("Printable twice gives %q, then %q", got, again)
		}
	})
}

func TestPrintableLeavesCleanTextAlone(t *testing.T) {
	text := strings.Repeat("nf_conntrack: table full ", 40)
	if n := testing.AllocsPerRun(100, func() { conntrack.Printable(text, 4096) }); n != 0 {
		t.Errorf("Printable allocates %v times for clean text, want 0", n)
	}
}
