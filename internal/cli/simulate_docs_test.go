package cli

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

var update = flag.Bool("update", false, "write what the documents show anew")

const scenariosPage = "../../docs/scenarios.md"

// What a page shows: a file (its name in bold above the block), and what a
// command prints.
var (
	shownFile    = regexp.MustCompile("(?m)^\\*\\*([a-z_]+\\.scenario)\\*\\*\n\n```\n((?s:.*?))^```$")
	shownCommand = regexp.MustCompile("(?m)^```console\n\\$ ctwarden ([^\n]*)\n((?s:.*?))^```$")
	shownPicture = regexp.MustCompile(`!\[[^]]*\]\(([a-z_]+\.svg)\)`)
	shownTable   = regexp.MustCompile("(?m)^<!-- scenarios -->\n((?s:.*?))^<!-- /scenarios -->$")
)

// TestScenariosPage runs every command that the page shows, on the files that
// it shows, and plays every shipped scenario for its table. With -update it
// writes the page anew.
func TestScenariosPage(t *testing.T) {
	page, err := filepath.Abs(scenariosPage)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if errors.Is(err, os.ErrNotExist) && os.Getenv("CTWARDEN_TEST_VM") == "1" {
		t.Skip("needs docs/scenarios.md, which is not in the virtual machine")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for _, file := range shownFile.FindAllSubmatch(text, -1) {
		if err := os.WriteFile(string(file[1]), file[2], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("none.yaml", []byte("# the defaults\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	commands := 0
	got := shownCommand.ReplaceAllStringFunc(string(text), func(block string) string {
		commands++
		args := shownCommand.FindStringSubmatch(block)[1]
		return "```console\n$ ctwarden " + args + "\n" + printed(t, args) + "```"
	})
	if commands == 0 {
		t.Error("the page shows no command")
	}
	pictures := shownPicture.FindAllSubmatch(text, -1)
	for _, m := range pictures {
		comparePicture(t, string(m[1]), filepath.Join(filepath.Dir(page), string(m[1])))
	}
	if len(pictures) == 0 {
		t.Error("the page shows no picture of a scenario")
	}
	if !shownTable.MatchString(got) {
		t.Error("the page has no table of scenarios")
	}
	got = shownTable.ReplaceAllLiteralString(got, "<!-- scenarios -->\n"+scenarioTable(t)+"<!-- /scenarios -->")
	if *update {
		if err := os.WriteFile(page, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(text), got); diff != "" {
		t.Errorf("docs/scenarios.md shows what is no longer so: go test ./internal/cli -run ScenariosPage -update (-page +is):\n%s", diff)
	}
}

// comparePicture compares what a command of the page drew with the picture that
// the page shows.
func comparePicture(t *testing.T, drawn, shown string) {
	t.Helper()
	is, err := os.ReadFile(drawn)
	if err != nil {
		t.Errorf("no command of the page draws %s: %v", drawn, err)
		return
	}
	if len(is) > 60<<10 {
		t.Errorf("%s takes %d bytes", drawn, len(is))
	}
	if *update {
		if err := os.WriteFile(shown, is, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	was, err := os.ReadFile(shown)
	if err != nil || !bytes.Equal(was, is) {
		t.Errorf("%s is not what its command draws now: go test ./internal/cli -run ScenariosPage -update (%v)", shown, err)
	}
}

// printed is what a command prints, under the default configuration. A refusal
// is part of it.
func printed(t *testing.T, args string) string {
	t.Helper()
	var out bytes.Buffer
	words := append(strings.Fields(args), "--config", "none.yaml")
	Main(t.Context(), "dev", words, strings.NewReader(""), &out, &out)
	var b strings.Builder
	for line := range strings.Lines(out.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// scenarioTable plays what is shipped.
func scenarioTable(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| scenario | | packets lost: ctwarden | nothing | cron |\n|---|---|--:|--:|--:|\n")
	limits := policy.Defaults()
	for _, name := range tablesim.BuiltInNames() {
		s, err := tablesim.BuiltIn(name)
		if err != nil {
			t.Fatal(err)
		}
		r := tablesim.Run(s, &limits)
		fmt.Fprintf(&b, "| `%s` | %s | %d | %d | %d |\n", name, strings.ReplaceAll(s.About, "|", "\\|"),
			r.Policy.Losses.Packets(), r.Nothing.Losses.Packets(), r.Cron.Losses.Packets())
	}
	return b.String()
}

// TestReadmeMatchesPicture has the figure of the picture in the
// sentence above it.
func TestReadmeMatchesPicture(t *testing.T) {
	m := regexp.MustCompile(`packets lost: 0 with ctwarden, (\d+)(\d{3}) with nothing`).FindStringSubmatch(page(t, "../../docs/morning_job.svg"))
	if m == nil {
		t.Fatal("the picture does not say what is lost")
	}
	if lost := m[1] + "," + m[2] + " packets are lost; with ctwarden, none"; !strings.Contains(page(t, "../../README.md"), lost) {
		t.Errorf("README.md does not say %q", lost)
	}
}
