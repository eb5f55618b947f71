package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/config"
)

func TestMistakesInTheEnvironmentAndTheFlags(t *testing.T) {
	tests := []struct {
		name    string
		environ []string
		flags   map[string]string
		want    []string
	}{
		{"a misspelt variable", []string{"CTWARDEN_LEVELS_HIHG_ENTER=80%"}, nil, []string{
			"environment CTWARDEN_LEVELS_HIHG_ENTER: unknown variable; did you mean CTWARDEN_LEVELS_HIGH_ENTER?",
		}},
		{"a variable that was renamed", []string{"CTWARDEN_LEASE_CALM=5m", "CTWARDEN_SPREAD=10%"}, nil, []string{
			"environment CTWARDEN_LEASE_CALM: the variable was renamed; set CTWARDEN_RESTORE_AFTER_CALM",
			"environment CTWARDEN_SPREAD: unknown variable",
		}},
		{"a variable in small letters", []string{"CTWARDEN_mode=observe"}, nil, []string{
			"environment CTWARDEN_mode: unknown variable; did you mean CTWARDEN_MODE?",
		}},
		{"a variable for a section", []string{"CTWARDEN_LEVELS=x"}, nil, []string{"environment CTWARDEN_LEVELS: unknown variable"}},
		{"no more than the prefix", []string{"CTWARDEN_"}, nil, []string{"environment CTWARDEN_: unknown variable"}},
		{"a variable that is wrong", []string{"CTWARDEN_VERIFY_SETTLE=10"}, nil, []string{
			`environment CTWARDEN_VERIFY_SETTLE: verify.settle: expected a duration between 10ms and 1h, found "10"`,
		}},
		{"a variable that is empty", []string{"CTWARDEN_MODE="}, nil, []string{
			`environment CTWARDEN_MODE: mode: expected one of observe, enforce, found ""`,
		}},
		{"a number that is none", []string{"CTWARDEN_BREAKER_ACTS="}, nil, []string{
			`environment CTWARDEN_BREAKER_ACTS: breaker.acts: expected a whole number between 1 and 64, found ""`,
		}},
		{"a variable twice", []string{"CTWARDEN_MODE=observe", "CTWARDEN_MODE=enforce"}, nil, []string{
			"environment CTWARDEN_MODE: mode: expected one value, found a second one",
		}},
		{"a variable that would write on the terminal", []string{"CTWARDEN_\x1b[2J=1", "CTWARDEN_\xff=1", "CTWARDEN_MODE=\x1b[2J\n"}, nil, []string{
			`environment "CTWARDEN_\x1b[2J": unknown variable; did you mean CTWARDEN_MODE?`,
			`environment CTWARDEN_MODE: mode: expected one of observe, enforce, found "\x1b[2J\n"`,
			`environment "CTWARDEN_\xff": unknown variable`,
		}},
		{"a list that is wrong in two places", []string{"CTWARDEN_PROTECT_PORTS=22,,x"}, nil, []string{
			`environment CTWARDEN_PROTECT_PORTS: protect.ports: expected a port between 1 and 65535, or a range such as 8000-8010, found ""`,
			`environment CTWARDEN_PROTECT_PORTS: protect.ports: expected a port between 1 and 65535, or a range such as 8000-8010, found "x"`,
		}},
		{"a list that is too long", nil, map[string]string{"protect.zones": strings.Repeat("1,", 256) + "1"}, []string{
			"flag protect.zones: expected at most 256 items, found 257",
		}},
		{"flags that are wrong", nil, map[string]string{"moed": "observe", "breaker.acts": "0", "breaker": "x"}, []string{
			"flag breaker: unknown key",
			"flag breaker.acts: expected a whole number between 1 and 64, found 0",
			"flag moed: unknown key; did you mean mode?",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := complaints(t, config.Source{Environ: tt.environ, Flags: tt.flags})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTheProcessEnvironmentIsNotRead(t *testing.T) {
	t.Setenv("CTWARDEN_MODE", "observe")
	t.Setenv("MODE", "observe")
	c := loaded(t, config.Source{})
	if got := c.Limits.Mode.String(); got != "enforce" {
		t.Errorf("got mode %s, want enforce", got)
	}
}

func TestProblemsComeInTheOrderOfTheSources(t *testing.T) {
	got := complaints(t, config.Source{
		Path:    write(t, "verify: {max_failures: 0}\nmode: x\n"),
		Environ: []string{"CTWARDEN_Z=", "CTWARDEN_A="},
		Flags:   map[string]string{"b": "", "a": ""},
	})
	want := []string{"f:1:24: ", "f:2:7: ", "environment CTWARDEN_A: ", "environment CTWARDEN_Z: ", "flag a: ", "flag b: "}
	for i, line := range got {
		if len(got) != len(want) || !strings.HasPrefix(line, want[i]) {
			t.Fatalf("got\n%s\nwant lines that begin with %q", strings.Join(got, "\n"), want)
		}
	}
}
