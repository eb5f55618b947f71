package ui_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/ui"
)

func TestFold(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		width int
		want  []string
	}{
		"nothing is one line":            {"", 5, []string{""}},
		"what fits is left":              {"ab cd", 5, []string{"ab cd"}},
		"a line breaks between words":    {"ab cd ef", 5, []string{"ab cd", "ef"}},
		"a word too long breaks":         {"abcdefg h", 3, []string{"abc", "def", "g h"}},
		"spaces at a break are no line":  {"ab   cd", 3, []string{"ab", "cd"}},
		"letters are counted, not bytes": {"äöü ß", 3, []string{"äöü", "ß"}},
		"no width is the least":          {"ab", 0, []string{"a", "b"}},
	} {
		if diff := cmp.Diff(c.want, ui.Fold(c.text, c.width)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestWrap(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		width int
		want  []string
	}{
		"nothing is one line":           {"", 5, []string{""}},
		"a line breaks between words":   {"ab cd ef", 5, []string{"ab cd", "ef"}},
		"a word that is wider is whole": {"a bcdefgh i", 3, []string{"a", "bcdefgh", "i"}},
		"columns are counted":           {"äöü ßß", 6, []string{"äöü ßß"}},
	} {
		if diff := cmp.Diff(c.want, ui.Wrap(c.text, c.width)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestQuote(t *testing.T) {
	tests := map[string]struct {
		words []string
		want  string
	}{
		"plain words":           {[]string{"ctwarden", "incident", "list", "--log=/var/log/a.jsonl"}, "ctwarden incident list --log=/var/log/a.jsonl"},
		"a reason with spaces":  {[]string{"pause", "--reason", "it is 3 a.m."}, "pause --reason 'it is 3 a.m.'"},
		"a quote":               {[]string{"it's"}, `'it'\''s'`},
		"what a shell would do": {[]string{"$(reboot)", "a;b", "*"}, "'$(reboot)' 'a;b' '*'"},
		"a newline":             {[]string{"a\nb"}, "'a\nb'"},
		"nothing":               {[]string{""}, "''"},
		"every plain letter":    {[]string{"azAZ09_@%+=:,./-"}, "azAZ09_@%+=:,./-"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := ui.Quote(tt.words...); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestAlign(t *testing.T) {
	rows := [][]string{{"name", "n"}, {"ä", "10"}, {"b", ""}}
	want := []string{"name   n", "ä     10", "b"}
	if diff := cmp.Diff(want, ui.Align(rows, []bool{false, true}, 8)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := ui.Align(rows, nil, 7); !slices.Equal(got, nil) {
		t.Errorf("wider than there is room: %q", got)
	}
}
