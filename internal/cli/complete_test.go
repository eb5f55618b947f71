package cli

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/tablesim"
)

// completions asks as a shell does, and returns the words that are offered and the
// number that says what a shell is to make of them.
func completions(t *testing.T, words ...string) (offers []string, directive string) {
	t.Helper()
	out, _ := runCommand(t, exitOK, append([]string{"__complete"}, words...)...)
	for line := range strings.Lines(out) {
		word, _, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		if number, ok := strings.CutPrefix(word, ":"); ok {
			return offers, number
		}
		offers = append(offers, word)
	}
	t.Fatalf("no directive: %q", out)
	return nil, ""
}

// What a shell is told to do: cobra's ShellCompDirective.
const (
	offersFiles       = "0"
	offersNoFiles     = "4"
	offersNoSpace     = "6"
	offersDirectories = "16"
	offersInOrder     = "36"
)

func TestCompleteIncidents(t *testing.T) {
	needDrillLog(t)
	id := lastID(t)
	for _, words := range [][]string{
		{"incident", "show", "--log", drillLog, ""}, {"incident", "report", "--log", drillLog, ""}, {"replay", "--log", drillLog, ""},
		{"recommend", "--log", drillLog, "--incident", ""}, {"audit", "show", "--log", drillLog, "--incident", ""},
	} {
		if got, directive := completions(t, words...); !slices.Equal(got, []string{"last", id}) || directive != offersInOrder {
			t.Errorf("%q: %q, directive %s", words, got, directive)
		}
	}
	if got, directive := completions(t, "incident", "show", "--log", drillLog, "last", ""); len(got) > 0 || directive != offersNoFiles {
		t.Errorf("a second one: %q, directive %s", got, directive)
	}
	if got, _ := completions(t, "incident", "show", ""); !slices.Equal(got, []string{"last"}) {
		t.Errorf("without a log: %q", got)
	}
}

// TestCompleteOffersNoCommandsAsArguments has a log whose incidents are named as no shell
// should take them.
func TestCompleteOffersNoCommandsAsArguments(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	log, err := audit.Open(path, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"$(reboot)", "INC 1; reboot", "INC-20261120T190000Z"} {
		if _, err := log.Append(&record.IncidentOpen{Edge: record.Edge{Incident: id, Text: "a\x1b[2Jb"}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	out, _ := runCommand(t, exitOK, "__complete", "incident", "show", "--log", path, "")
	if strings.Contains(out, "reboot") || strings.Contains(out, "\x1b") || !strings.Contains(out, "INC-20261120T190000Z\t") {
		t.Errorf("offered: %q", out)
	}
}

func TestCompleteFlagValues(t *testing.T) {
	var kinds, more []string
	for _, k := range record.Kinds() {
		kinds, more = append(kinds, string(k)), append(more, "plan,"+string(k))
	}
	slices.Sort(kinds)
	slices.Sort(more)
	tests := map[string]struct {
		words, want []string
		directive   string
	}{
		"kinds":             {[]string{"audit", "tail", "--kind", ""}, kinds, offersNoSpace},
		"more kinds":        {[]string{"audit", "show", "--kind", "plan,"}, more, offersNoSpace},
		"modes":             {[]string{"run", "--mode", ""}, []string{"enforce", "observe"}, offersNoFiles},
		"scenarios":         {[]string{"simulate", ""}, tablesim.BuiltInNames(), offersFiles},
		"a second scenario": {[]string{"simulate", "ramp", ""}, nil, offersNoFiles},
		"a file to check":   {[]string{"config", "check", ""}, nil, offersFiles},
		"no file, no word":  {[]string{"status", ""}, nil, offersNoFiles},
		"a duration":        {[]string{"pause", "--for", ""}, nil, offersNoFiles},
		"a log":             {[]string{"incident", "list", "--log", ""}, nil, offersFiles},
		"a directory":       {[]string{"recommend", "--write", ""}, nil, offersDirectories},
		"a configuration":   {[]string{"status", "--config", ""}, nil, offersFiles},
		"a shell":           {[]string{"completion", ""}, []string{"bash", "fish", "zsh"}, offersNoFiles},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got, directive := completions(t, tt.words...); !slices.Equal(got, tt.want) || directive != tt.directive {
				t.Errorf("offered %q, directive %s; want %q, %s", got, directive, tt.want, tt.directive)
			}
		})
	}
}

// TestCompleteNamespaces can't know which there are.
func TestCompleteNamespaces(t *testing.T) {
	if _, directive := completions(t, "diagnose", "--netns", ""); directive != offersNoFiles {
		t.Errorf("directive %s", directive)
	}
}
