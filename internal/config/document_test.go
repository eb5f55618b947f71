package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/config"
)

func TestMistakesInTheFile(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"a misspelt key", "levels:\n  hihg: {enter: 80%}\n", []string{
			"f:2:3: levels.hihg: unknown key; did you mean levels.high?",
		}},
		{"a key in capitals", "Mode: observe\n", []string{"f:1:1: Mode: unknown key; did you mean mode?"}},
		{"a key in the wrong section", "breaker: {cap: 3%}\nacts: 3\n", []string{
			"f:1:11: breaker.cap: unknown key; did you mean age.cap or delete.cap?",
			"f:2:1: acts: unknown key; did you mean breaker.acts?",
		}},
		{"a section in the wrong section", "levels: {breaker: {acts: 3}}\n", []string{
			"f:1:10: levels.breaker: unknown key; did you mean breaker?",
		}},
		{"a key nothing is like", "telemetry: true\n", []string{"f:1:1: telemetry: unknown key"}},
		{"keys that were renamed", "levels:\n  elevated: {soon: 3m, soon_fill: 60%}\n  high: {soon: 40s}\nverify: {strikes: 3}\n", []string{
			"f:2:14: levels.elevated.soon: the key was renamed; write levels: {elevated: {forecast: …}}",
			"f:2:24: levels.elevated.soon_fill: the key was renamed; write levels: {elevated: {forecast_fill: …}}",
			"f:3:10: levels.high.soon: the key was renamed; write levels: {high: {forecast: …}}",
			"f:4:10: verify.strikes: the key was renamed; write verify: {max_failures: …}",
		}},
		{"sections that were renamed", "lease: {calm: 5m, step: 2m}\nyield:\n  pause: 2h\nspread: {share: 10%}\n", []string{
			"f:1:1: lease: the key was renamed; write restore_after: …",
			"f:2:1: yield: the key was renamed; write backoff: …",
			"f:4:1: spread: the key was renamed; write jitter: …",
		}},
		{"a renamed key with dots", "yield.max_pause: 2d\n", []string{
			"f:1:1: yield.max_pause: the key was renamed; write backoff: {max_pause: …}",
		}},
		{"a renamed key below a wrong section", "delete: {strikes: 3}\n", []string{"f:1:10: delete.strikes: unknown key"}},
		{"a key with dots", "levels.high.enter: 80%\n", []string{
			"f:1:1: levels.high.enter: unknown key; write levels: {high: {enter: …}}",
		}},
		{"a key that would write on the terminal", "\"\\e[31m\": 1\n", []string{`f:1:1: "\x1b[31m": unknown key`}},
		{"a key that is an essay", strings.Repeat("x", 900) + ": 1\n", []string{
			`f:1:1: "` + strings.Repeat("x", 80) + `"…: unknown key`,
		}},
		{"a key twice", "mode: enforce\nrestore_after:\n  calm: 1m\n  step: 1m\n  calm: 2m\nmode: observe\n", []string{
			"f:5:3: restore_after.calm: expected one value, found a second one; the first is in line 3",
			"f:6:1: mode: expected one value, found a second one; the first is in line 1",
		}},
		{"a bare integer for a duration", "verify: {settle: 10}\n", []string{
			"f:1:18: verify.settle: expected a duration between 10ms and 1h, found 10",
		}},
		{"a zero without its unit", "audit: {max_age: 0}\n", []string{
			"f:1:18: audit.max_age: expected 0s (at any age) or a duration between 1h and 365d, found 0",
		}},
		{"a bare integer for a share", "levels: {high: {enter: 85}}\n", []string{
			"f:1:24: levels.high.enter: expected a share between 1% and 100%, found 85",
		}},
		{"more than everything", "levels:\n  high:\n    enter: 110%\n", []string{
			`f:3:12: levels.high.enter: expected a share between 1% and 100%, found "110%"`,
		}},
		{"a negative size", "audit: {max_size: -1MiB}\n", []string{
			`f:1:19: audit.max_size: expected a size between 64KiB and 1GiB, found "-1MiB"`,
		}},
		{"a size that overflows 64 bits", "audit: {max_size: 99999999TiB}\n", []string{
			`f:1:19: audit.max_size: expected a size between 64KiB and 1GiB, found "99999999TiB"`,
		}},
		{"a size in decimal units", "audit: {max_size: 16MB}\n", []string{
			`f:1:19: audit.max_size: expected a size between 64KiB and 1GiB, found "16MB"`,
		}},
		{"a number beyond what the kernel takes", "raise: {ceiling: 2147483648}\n", []string{
			"f:1:18: raise.ceiling: expected 0 (never raise) or a whole number between 1 and 2147483647, found 2147483648",
		}},
		{"a negative number", "raise: {ceiling: -1}\n", []string{
			"f:1:18: raise.ceiling: expected 0 (never raise) or a whole number between 1 and 2147483647, found -1",
		}},
		{"numbers that YAML reads in other ways", "raise: {ceiling: 0777}\nverify: {max_failures: 0x2}\nbreaker: {acts: 1_2}\n", []string{
			"f:1:18: raise.ceiling: expected 0 (never raise) or a whole number between 1 and 2147483647, found 0777",
			"f:2:24: verify.max_failures: expected a whole number between 1 and 10, found 0x2",
			"f:3:17: breaker.acts: expected a whole number between 1 and 64, found 1_2",
		}},
		{"more acts than the breaker can count", "breaker: {acts: 65}\n", []string{
			"f:1:17: breaker.acts: expected a whole number between 1 and 64, found 65",
		}},
		{"a number in quotes", "breaker: {acts: \"12\"}\n", []string{
			`f:1:17: breaker.acts: expected a whole number between 1 and 64, found "12"`,
		}},
		{"values of wrong types", "mode: [enforce]\nrestore_after: 3\nwatch: {kmsg: true, netns: {all: 1}}\nprotect: {ports: 53}\nstate: {dir: 5}\n", []string{
			"f:1:7: mode: expected one of observe, enforce, found a list",
			"f:2:16: restore_after: expected keys, each with its value, found 3",
			"f:3:15: watch.kmsg: expected one of auto, on, off, found true",
			"f:3:28: watch.netns: expected one of host, all, found keys",
			"f:4:18: protect.ports: expected a list, found 53",
			`f:5:14: state.dir: expected an absolute path of at most 4095 bytes, without "..", "//" or a slash at its end, found 5`,
		}},
		{"a mode that is not offered", "mode: off\n", []string{`f:1:7: mode: expected one of observe, enforce, found "off"`}},
		{"a key without its value", "mode:\nprotect: {ports: [~]}\n", []string{
			"f:1:6: mode: expected one of observe, enforce, found nothing",
			"f:2:19: protect.ports: expected a port between 1 and 65535, or a range such as 8000-8010, found nothing",
		}},
		{"floors below what is harmless, or of timeouts that are never shortened", "timeouts:\n  floors:\n    tcp_timeout_established: 3h\n    tcp_timeout_close: 5s\n    udp_timeout: 10500ms\n", []string{
			`f:3:5: timeouts.floors.tcp_timeout_established: unknown key`,
			`f:4:24: timeouts.floors.tcp_timeout_close: expected 0s (never shorten) or a duration in whole seconds between 10s and 5d, found "5s"`,
			`f:5:18: timeouts.floors.udp_timeout: expected 0s (never shorten) or a duration in whole seconds between 10s and 5d, found "10500ms"`,
		}},
		{"chains in which new connections fail", "hash: {max_ratio: 9, storm_ratio: 17}\n", []string{
			"f:1:19: hash.max_ratio: expected 0 (never resize) or a whole number between 1 and 8, found 9",
			"f:1:35: hash.storm_ratio: expected a whole number between 1 and 16, found 17",
		}},
		{"a stall that is an outage, or is wished away", "hash: {max_stall: 1001ms, stall_per_entry: 29ns}\n", []string{
			`f:1:19: hash.max_stall: expected a duration between 1ms and 1s, found "1001ms"`,
			`f:1:44: hash.stall_per_entry: expected a duration between 30ns and 100µs, found "29ns"`,
		}},
		{"memory that everything else needs", "budget: {memory_total: 51%, memory_available: 51%}\n", []string{
			`f:1:24: budget.memory_total: expected a share between 0.01% and 50%, found "51%"`,
			`f:1:47: budget.memory_available: expected a share between 0.01% and 50%, found "51%"`,
		}},
		{"established entries aged too early", "age: {established_floor: 2h3m59s}\n", []string{
			`f:1:26: age.established_floor: expected 0s (never) or a duration between 2h4m and 365d, found "2h3m59s"`,
		}},
		{"a list with wrong items", "protect:\n  cidr: [10.1.2.3/8, '::ffff:10.0.0.0/104', fe80::1%eth0, x, '::ffff:10.0.0.1']\n  marks: [0x100/0xff, 0/0, 4294967296, 0x100000000]\n  zones: [65536]\n", []string{
			`f:2:10: protect.cidr: expected a network without host bits, such as 10.0.0.0/8 or 2001:db8::/32, or an address, found "10.1.2.3/8"`,
			`f:2:22: protect.cidr: expected a network without host bits, such as 10.0.0.0/8 or 2001:db8::/32, or an address, found "::ffff:10.0.0.0/104"`,
			`f:2:45: protect.cidr: expected a network without host bits, such as 10.0.0.0/8 or 2001:db8::/32, or an address, found "fe80::1%eth0"`,
			`f:2:59: protect.cidr: expected a network without host bits, such as 10.0.0.0/8 or 2001:db8::/32, or an address, found "x"`,
			`f:2:62: protect.cidr: expected a network without host bits, such as 10.0.0.0/8 or 2001:db8::/32, or an address, found "::ffff:10.0.0.1"`,
			`f:3:11: protect.marks: expected a mark such as 0x1, or a mark within its mask such as 0x1/0xff, found "0x100/0xff"`,
			`f:3:23: protect.marks: expected a mark such as 0x1, or a mark within its mask such as 0x1/0xff, found "0/0"`,
			`f:3:28: protect.marks: expected a mark such as 0x1, or a mark within its mask such as 0x1/0xff, found 4294967296`,
			`f:3:40: protect.marks: expected a mark such as 0x1, or a mark within its mask such as 0x1/0xff, found 0x100000000`,
			"f:4:11: protect.zones: expected a zone between 0 and 65535, found 65536",
		}},
		{"ports that are none", "protect: {ports: [0, 9-8, 65536, -1, 1-]}\n", []string{
			"f:1:19: protect.ports: expected a port between 1 and 65535, or a range such as 8000-8010, found 0",
			`f:1:22: protect.ports: expected a port between 1 and 65535, or a range such as 8000-8010, found "9-8"`,
			"f:1:27: protect.ports: expected a port between 1 and 65535, or a range such as 8000-8010, found 65536",
			"f:1:34: protect.ports: expected a port between 1 and 65535, or a range such as 8000-8010, found -1",
			`f:1:38: protect.ports: expected a port between 1 and 65535, or a range such as 8000-8010, found "1-"`,
		}},
		{"a list that is too long", "protect: {zones: [" + strings.Repeat("1,", 256) + "1]}\n", []string{
			"f:1:18: protect.zones: expected at most 256 items, found 257",
		}},
		{"a socket path longer than the kernel takes", "control: {socket: /" + strings.Repeat("x", 107) + "}\n", []string{
			`f:1:19: control.socket: expected an absolute path of at most 107 bytes, without "..", "//" or a slash at its end, found "/` +
				strings.Repeat("x", 79) + `"…`,
		}},
		{"an anchor and its alias", "restore_after: &a {calm: 1m}\nbackoff: *a\n", []string{
			"f:1:16: restore_after: expected a value, found an anchor, &a",
			"f:2:10: backoff: expected a value, found an alias, *a",
		}},
		{"a bomb of aliases", "a: &a [x]\nb: &b [*a,*a]\nprotect: {cidr: [*b,*b]}\n", []string{
			"f:1:1: a: unknown key", "f:2:1: b: unknown key",
			"f:3:18: protect.cidr: expected a value, found an alias, *b",
			"f:3:21: protect.cidr: expected a value, found an alias, *b",
		}},
		{"a merge and a tag", "<<: {mode: observe}\nrestore_after: {calm: !!str 1m}\n", []string{
			"f:1:1: <<: unknown key",
			"f:2:23: restore_after.calm: expected a value, found a tag, !!str",
		}},
		{"keys that are no names", "[a]: 1\n&x mode: observe\n", []string{
			"f:1:1: expected the name of a key, found a list",
			"f:2:1: expected a value, found an anchor, &x",
		}},
		{"two documents", "mode: observe\n---\nmode: enforce\n", []string{"f:2:1: expected one document, found a second one"}},
		{"a list of all", "- mode\n", []string{"f:1:1: expected keys, each with its value, found a list"}},
		{"no YAML", "mode: observe\nrestore_after: {calm: 1m\n", []string{"f:2: not YAML: did not find expected ',' or '}'"}},
		{"no YAML in the last of three lines", "mode: observe\nrestore_after:\n  calm 1m\n", []string{
			`f:3:3: restore_after: expected keys, each with its value, found "calm 1m"`,
		}},
		{"no YAML between others", "mode: observe\nrestore_after 1m\nage: {}\n", []string{"f:2: not YAML: could not find expected ':'"}},
		{"wrong indentation", "restore_after:\n  calm: 1m\n   step: 1m\nage:\n", []string{
			"f:3: not YAML: mapping values are not allowed in this context",
		}},
		{"an indentation that fits nowhere", "restore_after:\n   calm: 1m\n  step: 1m\n", []string{"f:3: not YAML: did not find expected key"}},
		{"no YAML after the first document", "mode: observe\n---\na: {b: 1\n", []string{"f:3: not YAML: did not find expected ',' or '}'"}},
		{"no YAML in the first line", "mode: observe: enforce", []string{"f:1: not YAML: mapping values are not allowed in this context"}},
		{"a tab", "restore_after:\n\tcalm: 1m\n", []string{"f:2:1: expected spaces to indent with, found a tab"}},
		{"a tab after spaces", "restore_after:\n  \tcalm: 1m\n", []string{"f:2:3: expected spaces to indent with, found a tab"}},
		{"bytes that are no text", "# gr\xfc\xdfe\nmode: observe\n# \x1b[2J\x00\n", []string{
			"f:1:5: expected UTF-8 text, found the byte 0xfc",
			"f:3:3: expected text, found the control character U+001B",
		}},
		{"an empty file", "", []string{
			"f: expected a key or at least a comment, found an empty file; a file that was cut off must not pass for the defaults",
		}},
		{"a file of nothing but lines", "\ufeff\n \n", []string{
			"f: expected a key or at least a comment, found an empty file; a file that was cut off must not pass for the defaults",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := complaints(t, config.Source{Path: write(t, tt.text)})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestProblemsAreTyped(t *testing.T) {
	path := write(t, "mode: on\nrestore_after: {calm: 1}\n")
	_, err := config.Load(config.Source{Path: path, Environ: []string{"CTWARDEN_MODE=on"}})
	var all config.Problems
	if !errors.As(err, &all) || len(all) != 3 {
		t.Fatalf("got %v, want three problems", err)
	}
	want := config.Problem{
		Origin: config.Origin{Layer: config.FromFile, Name: path, Line: 1, Column: 7},
		Key:    "mode", Expected: "one of observe, enforce", Found: `"on"`,
	}
	var first config.Problem
	if !errors.As(fmt.Errorf("reload: %w", err), &first) {
		t.Fatal("no Problem within Problems")
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestPathsThatLeadAstray(t *testing.T) {
	for _, path := range []string{"", "/", "x/y", "./x", "/a/../b", "/a/", "/a//b", "/a\tb", "/a\u202eb", "/a\xff"} {
		_, err := config.Load(config.Source{Flags: map[string]string{"state.dir": path}})
		want := fmt.Sprintf(`flag state.dir: expected an absolute path of at most 4095 bytes, without "..", "//" or a slash at its end, found %q`, path)
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestAListMayBeFull(t *testing.T) {
	list := strings.Repeat("1,", 255) + "1"
	loaded(t, config.Source{
		Path:  write(t, "protect: {zones: ["+list+"]}\n"),
		Flags: map[string]string{"protect.ports": list},
	})
}

func TestProblemsAsJSON(t *testing.T) {
	_, err := config.Load(config.Source{Environ: []string{"CTWARDEN_MODE=on"}})
	got, jsonErr := json.Marshal(err)
	want := `[{"origin":{"place":"environment","name":"CTWARDEN_MODE"},"key":"mode","expected":"one of observe, enforce","found":"\"on\""}]`
	if jsonErr != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, jsonErr, want)
	}
}

func TestAFloodOfMistakesIsCutShort(t *testing.T) {
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, "unknown%d: 1\n", i)
	}
	if got := complaints(t, config.Source{Path: write(t, b.String())}); len(got) != 100 {
		t.Errorf("got %d lines, want 100", len(got))
	}
	if got := complaints(t, config.Source{Path: write(t, strings.Repeat("\t#\n", 10_000))}); len(got) != 100 {
		t.Errorf("tabs: got %d lines, want 100", len(got))
	}
}
