package main

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
)

const auditHelp = `read and check the record

Usage:
  ctwarden audit [flags]
  ctwarden audit [command]

Examples:
  ctwarden audit show   what happened
    indented

Available Commands:
  show        print the record
  verify      check the chain

Flags:
  -h, --help           help for audit
      --kind strings   of these kinds
                       and no others

Global Flags:
      --config string   configuration file

Use "ctwarden audit [command] --help" for more information about a command.
`

func TestParseHelp(t *testing.T) {
	want := help{
		about:    "read and check the record",
		usage:    []string{"ctwarden audit [flags]", "ctwarden audit [command]"},
		examples: "ctwarden audit show   what happened\n  indented",
		commands: []item{{"show", "print the record"}, {"verify", "check the chain"}},
		flags:    []item{{"-h, --help", "help for audit"}, {"--kind strings", "of these kinds and no others"}},
		global:   []item{{"--config string", "configuration file"}},
	}
	if diff := cmp.Diff(want, parseHelp(auditHelp), cmp.AllowUnexported(help{}, item{})); diff != "" {
		t.Errorf("help (-want +got):\n%s", diff)
	}
}

func TestParseReference(t *testing.T) {
	const text = `# Every key, with its default.
#
# levels.high.enter is CTWARDEN_LEVELS_HIGH_ENTER: lists with commas.

# Whether to act.
# Takes one of observe, enforce.
mode: enforce

levels:
  high:
    # Fullness from which
    # the level is high.
    # Takes a share.
    enter: 85%
protect:
  # Addresses.
  cidr: []
  # Ports.
  ports:
    - 22
    - 6443
`
	want := []setting{
		{"mode", "enforce", "Whether to act.", "Takes one of observe, enforce."},
		{"levels.high.enter", "85%", "Fullness from which the level is high.", "Takes a share."},
		{"protect.cidr", "[]", "Addresses.", ""},
		{"protect.ports", "22 6443", "Ports.", ""},
	}
	if diff := cmp.Diff(want, parseReference(text), cmp.AllowUnexported(setting{})); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

// TestManualHasEveryKey compares the page with the reference page, which lists every key in a table.
func TestManualHasEveryKey(t *testing.T) {
	var reference, page bytes.Buffer
	if err := config.Reference(&reference); err != nil {
		t.Fatal(err)
	}
	if err := config.Markdown(&page); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, s := range parseReference(reference.String()) {
		got = append(got, s.path)
		if s.about == "" || s.takes == "" {
			t.Errorf("%s: about %q, takes %q", s.path, s.about, s.takes)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.0-9]+)` \\|").FindAllStringSubmatch(page.String(), -1) {
		want = append(want, m[1])
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 20 {
		t.Errorf("keys of the manual (-want +got):\n%s", diff)
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
		"a release without a date":       "## [1.2.0]\n",
		"a day that is none":             "## [1.2.0] - 2026-13-20\n",
		"a heading that is no version":   "## [1.2.0] yesterday\n",
		"a date that is written another": "## 1.2.0 - 20.11.2026\n",
	} {
		if _, err := parseChangelog(text); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestChangelogOfThisModule proves that what is there can be read.
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
			t.Errorf("a release without notes, %s, was accepted", version)
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
			t.Errorf("entry %s has no subject or says nothing", id)
		}
	}
	for _, k := range audit.Kinds() {
		want = append(want, k.MessageID())
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("message IDs of the catalog (-want +got):\n%s", diff)
	}
}

// TestUnitSaysWhy proves that what the unit leaves out is told, and that what would break the job is left out.
func TestUnitSaysWhy(t *testing.T) {
	text, err := os.ReadFile("../systemd/ctwarden.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, directive := range []string{
		"PrivateNetwork", "PrivateUsers", "ProtectKernelLogs", "PrivateDevices", "ProcSubset", "DynamicUser", "RootDirectory",
	} {
		if regexp.MustCompile(`(?m)^` + directive + `=`).Match(text) {
			t.Errorf("%s= breaks the job", directive)
		}
		if !regexp.MustCompile(`(?m)^# .*` + directive + `=.{10}`).Match(text) {
			t.Errorf("%s= is left out without a reason", directive)
		}
	}
	if got := regexp.MustCompile(`(?m)^RestartPreventExitStatus=(.*)$`).FindSubmatch(text); got == nil || string(got[1]) != "78" {
		t.Errorf("RestartPreventExitStatus=%s: want 78, a wrong configuration, alone; a panic (2) must be followed by a restart", got)
	}
}

func TestExitCodes(t *testing.T) {
	names := func(path ...string) (names []string) {
		for _, code := range exitCodes(path) {
			names = append(names, code.name)
		}
		return names
	}
	for _, tt := range []struct{ got, want []string }{
		{names("ctwarden"), []string{"0", "1", "2", "3", "78"}},
		{names("ctwarden", "config", "check"), []string{"0", "1", "2"}},
		{names("ctwarden", "doctor"), []string{"0", "1", "2", "3"}},
		{names("ctwarden", "audit", "verify"), []string{"0", "1", "2", "3"}},
		{names("ctwarden", "run"), []string{"0", "1", "2", "78"}},
		{names("ctwarden", "status"), []string{"0", "1", "2", "0 to 3"}},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("exit codes (-want +got):\n%s", diff)
		}
	}
}

func TestFilesOfACommand(t *testing.T) {
	names := func(path ...string) (names []string) {
		for _, f := range files(path) {
			names = append(names, f.name[strings.LastIndex(f.name, "/")+1:])
		}
		return names
	}
	all := names("ctwarden")
	for _, tt := range []struct{ got, want []string }{
		{names("ctwarden", "version"), nil},
		{names("ctwarden", "completion", "bash"), nil},
		{names("ctwarden", "simulate"), []string{"ctwarden.yaml"}},
		{names("ctwarden", "audit", "show"), []string{"ctwarden.yaml", "audit.jsonl"}},
		{names("ctwarden", "revert"), []string{"ctwarden.yaml", "audit.jsonl", "ledger.json", "control.sock"}},
		{names("ctwarden", "run"), all},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" || len(all) != 7 {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
}

func TestSeeAlso(t *testing.T) {
	group := []item{{"show", ""}, {"tail", ""}, {"help", ""}}
	for _, tt := range []struct{ got, want string }{
		{seeAlso([]string{"ctwarden", "audit"}, help{commands: group}, []item{{"audit", ""}, {"run", ""}}),
			"ctwarden(8), ctwarden-audit-show(8), ctwarden-audit-tail(8), ctwarden.yaml(5)"},
		{seeAlso([]string{"ctwarden", "audit", "tail"}, help{}, group[:2]), "ctwarden(8), ctwarden-audit(8), ctwarden-audit-show(8), ctwarden.yaml(5)"},
		{seeAlso([]string{"ctwarden", "run"}, help{}, []item{{"audit", ""}, {"run", ""}}), "ctwarden(8), ctwarden.yaml(5)"},
	} {
		if tt.got != tt.want {
			t.Errorf("see also %s, want %s", tt.got, tt.want)
		}
	}
}

// TestTextIsNoWiderThanASource has mandoc in mind, which tells of longer lines.
func TestTextIsNoWiderThanASource(t *testing.T) {
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
	// Of words of two letters, so that a line can be as full as it gets.
	for line := range strings.Lines(wrap(strings.Repeat("a ", 200))) {
		if line = strings.TrimRight(line, "\n"); len("   -     "+strings.TrimSpace(line)) > 80 {
			t.Errorf("%d letters, which lintian finds too long: %q", len(line), line)
		}
	}
}
