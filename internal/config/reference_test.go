package config_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/config"
)

var update = flag.Bool("update", false, "rewrite docs/configuration.md")

// written is what a function writes.
func written(t *testing.T, f func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := f(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTheReferenceSetsEveryKeyToItsDefault(t *testing.T) {
	path := write(t, written(t, config.Reference))
	c := loaded(t, config.Source{Path: path, Explicit: true})
	if changes := config.Diff(config.Default(), *c); len(changes) > 0 {
		t.Errorf("the reference changes %v", changes)
	}
	shown := written(t, c.Show)
	if strings.Contains(shown, "# default") {
		t.Errorf("a key is not in the reference:\n%s", shown)
	}
	for line := range strings.Lines(written(t, config.Reference)) {
		if len(line) > 120 {
			t.Errorf("too long a line: %s", line)
		}
	}
}

func TestThePageIsUpToDate(t *testing.T) {
	const page = "../../docs/configuration.md"
	want := written(t, config.Markdown)
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("run go test ./internal/config -update (-want +got):\n%s", diff)
	}
}

func TestTheExampleOfThePageIsTaken(t *testing.T) {
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(written(t, config.Markdown))
	if example == nil {
		t.Fatal("no example")
	}
	loaded(t, config.Source{Path: write(t, example[1])})
}

func TestThePackagedFileIsTheDefaults(t *testing.T) {
	text, err := os.ReadFile("../../packaging/ctwarden.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c := loaded(t, config.Source{Path: write(t, string(text)), Explicit: true})
	if changes := config.Diff(config.Default(), *c); len(changes) > 0 {
		t.Errorf("the packaged file changes %v", changes)
	}
	// What is commented out is there to be used.
	all := regexp.MustCompile(`(?m)^#(\S|  )`).ReplaceAllString(string(text), "$1")
	c = loaded(t, config.Source{Path: write(t, all), Explicit: true})
	for _, key := range []string{"raise.ceiling", "protect.cidr", "protect.ports", "audit.mask"} {
		if c.Origin(key).Line == 0 {
			t.Errorf("%s is not among what is commented out", key)
		}
	}
}

func TestShow(t *testing.T) {
	path := write(t, "restore_after: {calm: 120s}\nprotect: {cidr: ['::/0', 10.1.2.3], ports: [8000-8010, 53]}\n")
	c := loaded(t, config.Source{
		Path: path, Environ: []string{"CTWARDEN_MODE=observe"}, Flags: map[string]string{"state.dir": "/a # b"},
	})
	shown := written(t, c.Show)
	for _, want := range []string{
		"mode: observe                           # environment CTWARDEN_MODE\n",
		"restore_after:\n  calm: 2m                              # " + path + ":1:23\n  step: 1m                              # default\n",
		"  dir: \"/a # b\"                         # flag state.dir\n",
		"  cidr: [\"::/0\", 10.1.2.3/32]           # " + path + ":2:17\n",
		"  ports: [8000-8010, 53]                # " + path + ":2:44\n",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q in\n%s", want, shown)
		}
	}
	again := loaded(t, config.Source{Path: write(t, shown)})
	if diff := cmp.Diff(*c, *again, values); diff != "" {
		t.Errorf("what is shown is read as something else (-shown +read):\n%s", diff)
	}
}

func TestShowNamesAHostilePathInOneLine(t *testing.T) {
	dir := t.TempDir() + "/a\nmode: off #"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/f", []byte("mode: observe\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := loaded(t, config.Source{Path: dir + "/f"})
	if first, _, _ := strings.Cut(written(t, c.Show), "\n"); !strings.HasSuffix(first, `/a\nmode: off #/f":1:7`) {
		t.Errorf("got %s", first)
	}
}

func TestWritersReportAFullDisk(t *testing.T) {
	c := config.Default()
	for name, f := range map[string]func(io.Writer) error{
		"show": c.Show, "reference": config.Reference, "markdown": config.Markdown,
	} {
		if err := f(fullDisk{}); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%s: got %v, want %v", name, err, io.ErrShortWrite)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }
