package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ctwarden/ctwarden/internal/cli"
	"github.com/ctwarden/ctwarden/internal/record"
)

// command returns a command of the program by its path, as in "audit verify".
func command(t *testing.T, path string) *cobra.Command {
	t.Helper()
	words := strings.Fields(path)
	c, rest, err := cli.New("1.2.3").Find(words)
	if err != nil || len(rest) > 0 {
		t.Fatalf("no command %q: %v", path, err)
	}
	return c
}

func TestFlags(t *testing.T) {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.BoolP("help", "h", false, "help for audit")
	set.StringSlice("kind", nil, "of these `kinds`")
	set.Duration("every", time.Second, "how often")
	want := []item{{"--every duration", "how often (default 1s)"}, {"-h, --help", "help for audit"}, {"--kind kinds", "of these kinds"}}
	if diff := cmp.Diff(want, flags(set), cmp.AllowUnexported(item{})); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
}

// TestManual proves that each page has its sections.
func TestManual(t *testing.T) {
	b := build{version: "1.2.3", out: t.TempDir()}
	if err := b.writeManual(cli.New(b.version)); err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(b.out + "/man/man8/*.8")
	if err != nil || len(pages) < 25 {
		t.Fatalf("%d pages, error %v", len(pages), err)
	}
	for _, page := range append(pages, b.out+"/man/man5/ctwarden.yaml.5") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		sections := []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", `"EXIT STATUS"`, `"SEE ALSO"`}
		if strings.HasSuffix(page, ".5") {
			sections = []string{"NAME", "SYNOPSIS", "DESCRIPTION", `"KEYS: MODE"`, "EXAMPLES", `"SEE ALSO"`}
		}
		at := 0
		for _, section := range sections {
			n := strings.Index(string(text)[at:], "\n.SH "+section+"\n")
			if n < 0 {
				t.Errorf("%s: no section %s after the one before it", filepath.Base(page), section)
				continue
			}
			at += n
		}
	}
}

func TestParseChangelog(t *testing.T) {
	const text = "# Changelog\n\nAll of it.\n\n## Unreleased\n\n- one\n  goes on\n\n## [1.2.0] - 2026-11-20\n\n### Added\n- two\n* three\n"
	got, err := parseChangelog(text)
	if err != nil {
		t.Fatal(err)
	}
	date := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	want := []release{
		{"", time.Time{}, "\n- one\n  goes on\n\n", []string{"one goes on"}},
		{"1.2.0", date, "\n### Added\n- two\n* three\n", []string{"two", "three"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(release{})); diff != "" {
		t.Errorf("releases (-want +got):\n%s", diff)
	}
	for name, text := range map[string]string{
		"a release without a date":    "## [1.2.0]\n",
		"an impossible day":           "## [1.2.0] - 2026-13-20\n",
		"a heading without a version": "## [1.2.0] yesterday\n",
		"a date in another format":    "## 1.2.0 - 20.11.2026\n",
	} {
		if _, err := parseChangelog(text); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestChangelogOfThisModule proves that CHANGELOG.md parses.
func TestChangelogOfThisModule(t *testing.T) {
	b := build{changelog: "../../CHANGELOG.md"}
	if _, err := b.releases(); err != nil {
		t.Error(err)
	}
}

func TestPrintNotes(t *testing.T) {
	b := build{changelog: t.TempDir() + "/CHANGELOG.md"}
	if err := os.WriteFile(b.changelog, []byte("## 1.0.0 - 2026-01-02\n\n- first\n\n## 0.9.0 - 2026-01-01\n\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := b.printNotes(&out, "1.0.0"); err != nil || out.String() != "- first\n" {
		t.Errorf("notes %q, error %v", out.String(), err)
	}
	for _, version := range []string{"0.9.0", "2.0.0"} {
		if err := b.printNotes(&out, version); err == nil {
			t.Errorf("release %s has no notes and was accepted", version)
		}
	}
}

func TestEscape(t *testing.T) {
	tests := map[string]string{
		"--json":      `\-\-json`,
		".config":     `\&.config`,
		"'quoted'":    `\&'quoted'`,
		`a\b`:         `a\eb`,
		"plain text.": "plain text.",
	}
	for in, want := range tests {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRequestQuotesWords(t *testing.T) {
	var r roff
	r.request("RS", "4")
	r.request("SH", "EXIT STATUS")
	r.request("B", `say "yes"`)
	if diff := cmp.Diff(".RS 4\n.SH \"EXIT STATUS\"\n.B \"say \\(dqyes\\(dq\"\n", string(r.bytes())); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestCatalog proves that journalctl -x explains each kind of record, and nothing else.
func TestCatalog(t *testing.T) {
	text, err := os.ReadFile("../ctwarden.catalog")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, entry := range strings.Split(string(text), "\n-- ")[1:] {
		id, rest, _ := strings.Cut(entry, "\n")
		got = append(got, id)
		head, body, ok := strings.Cut(rest, "\n\n")
		if !ok || !strings.HasPrefix(head, "Subject: ") || len(strings.TrimSpace(body)) < 40 {
			t.Errorf("entry %s has no subject or no text", id)
		}
	}
	for _, k := range record.Kinds() {
		want = append(want, k.MessageID())
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("message IDs of the catalog (-want +got):\n%s", diff)
	}
}

// TestUnitGivesReasons proves that the unit leaves out each directive that would break the daemon, with a reason.
func TestUnitGivesReasons(t *testing.T) {
	text, err := os.ReadFile("../systemd/ctwarden.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, directive := range []string{
		"PrivateNetwork", "PrivateUsers", "ProtectKernelLogs", "PrivateDevices", "ProcSubset", "DynamicUser", "RootDirectory",
	} {
		if regexp.MustCompile(`(?m)^` + directive + `=`).Match(text) {
			t.Errorf("%s= breaks the daemon", directive)
		}
		if !regexp.MustCompile(`(?m)^# .*` + directive + `=.{10}`).Match(text) {
			t.Errorf("%s= is left out without a reason", directive)
		}
	}
	if got := regexp.MustCompile(`(?m)^RestartPreventExitStatus=(.*)$`).FindSubmatch(text); got == nil || string(got[1]) != "78" {
		t.Errorf("RestartPreventExitStatus=%s: want only 78, a wrong configuration; systemd must restart after a panic (2)", got)
	}
}

func TestExitCodes(t *testing.T) {
	names := func(path string) (names []string) {
		for _, code := range exitCodes(command(t, path)) {
			names = append(names, code.name)
		}
		return names
	}
	for _, tt := range []struct{ got, want []string }{
		{names(""), []string{"0", "1", "2", "3", "78"}},
		{names("config check"), []string{"0", "1", "2"}},
		{names("doctor"), []string{"0", "1", "2", "3"}},
		{names("audit verify"), []string{"0", "1", "2", "3"}},
		{names("run"), []string{"0", "1", "2", "78"}},
		{names("status"), []string{"0", "1", "2", "0 to 3"}},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("exit codes (-want +got):\n%s", diff)
		}
	}
}

func TestFilesOfACommand(t *testing.T) {
	names := func(path string) (names []string) {
		for _, f := range files(command(t, path)) {
			names = append(names, f.name[strings.LastIndex(f.name, "/")+1:])
		}
		return names
	}
	all := names("")
	for _, tt := range []struct{ got, want []string }{
		{names("version"), nil},
		{names("completion bash"), nil},
		{names("simulate"), []string{"ctwarden.yaml"}},
		{names("audit show"), []string{"ctwarden.yaml", "audit.jsonl"}},
		{names("revert"), []string{"ctwarden.yaml", "audit.jsonl", "ledger.json", "control.sock"}},
		{names("run"), all},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" || len(all) != 7 {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
}

func TestSeeAlso(t *testing.T) {
	for path, want := range map[string]string{
		"config":       "ctwarden(8), ctwarden-config-check(8), ctwarden-config-reference(8), ctwarden-config-show(8), ctwarden.yaml(5)",
		"config check": "ctwarden(8), ctwarden-config(8), ctwarden-config-reference(8), ctwarden-config-show(8), ctwarden.yaml(5)",
		"run":          "ctwarden(8), ctwarden.yaml(5)",
	} {
		if got := seeAlso(command(t, path)); got != want {
			t.Errorf("%s: see also %s, want %s", path, got, want)
		}
	}
}

// TestTextFitsASourceLine: mandoc warns about longer lines.
func TestTextFitsASourceLine(t *testing.T) {
	var r roff
	r.text(strings.Repeat("--json .config ", 40))
	lines := strings.Split(strings.TrimRight(string(r.bytes()), "\n"), "\n")
	for _, line := range lines {
		if len(line) > widest || strings.HasPrefix(line, ".") {
			t.Errorf("%d bytes: %s", len(line), line)
		}
	}
	if len(lines) < 8 || strings.Count(strings.Join(lines, " "), `\-\-json`) != 40 {
		t.Errorf("lines:\n%s", strings.Join(lines, "\n"))
	}
}

func TestWrapLeavesRoomForDebian(t *testing.T) {
	// One-letter words fill each line as far as possible.
	for line := range strings.Lines(wrap(strings.Repeat("a ", 200))) {
		if line = strings.TrimRight(line, "\n"); len("   -     "+strings.TrimSpace(line)) > 80 {
			t.Errorf("%d columns, lintian accepts 80: %q", len(line), line)
		}
	}
}
