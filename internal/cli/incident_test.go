package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/replay"
	"github.com/ctwarden/ctwarden/internal/report"
	"github.com/ctwarden/ctwarden/policy"
)

// drillLog is the log of a real drill.
const drillLog = "../../internal/report/testdata/drill.jsonl"

// needDrillLog skips where only this package's own files are.
func needDrillLog(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(drillLog); errors.Is(err, fs.ErrNotExist) && os.Getenv("CTWARDEN_TEST_VM") == "1" {
		t.Skip("needs the files of internal/report, which are not in the virtual machine")
	}
}

// runCommand runs a command line and returns what it stderr on both streams.
func runCommand(t *testing.T, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	t.Setenv("CTWARDEN_AUDIT_PATH", filepath.Join(t.TempDir(), "audit.jsonl"))
	t.Setenv("CTWARDEN_STATE_DIR", t.TempDir())
	var out, complaints bytes.Buffer
	if got := Main(t.Context(), "dev", args, strings.NewReader(""), &out, &complaints); got != code {
		t.Fatalf("ctwarden %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, out.String(), complaints.String())
	}
	return out.String(), complaints.String()
}

func lastID(t *testing.T) string {
	t.Helper()
	out, _ := runCommand(t, exitOK, "incident", "list", "--json", "--log", drillLog)
	var list []incident.Incident
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 {
		t.Fatalf("%d incidents, %v", len(list), err)
	}
	return list[0].ID
}

func TestIncidentListTable(t *testing.T) {
	needDrillLog(t)
	out, _ := runCommand(t, exitOK, "incident", "list", "--log", drillLog)
	lines := strings.Split(out, "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "INCIDENT") || !strings.HasPrefix(lines[1], "INC-") ||
		!strings.Contains(lines[1], "█") || !strings.Contains(lines[1], "half_open") {
		t.Errorf("list:\n%s", out)
	}
}

func TestIncidentCommandsOnEmptyLog(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _ := runCommand(t, exitOK, "incident", "list", "--log", empty); !strings.HasPrefix(out, "no incidents") {
		t.Errorf("list: %q", out)
	}
	if out, _ := runCommand(t, exitOK, "incident", "list", "--json", "--log", empty); out != "[]\n" {
		t.Errorf("JSON: %q", out)
	}
	if _, stderr := runCommand(t, exitError, "incident", "show", "last", "--log", empty); !strings.Contains(stderr, "hint: ctwarden status\n") {
		t.Errorf("show: %q", stderr)
	}
}

func TestIncidentErrorsHaveHints(t *testing.T) {
	needDrillLog(t)
	tests := map[string]struct {
		code int
		args []string
		want string
	}{
		"no log":                   {exitError, []string{"incident", "list"}, "hint: ctwarden status"},
		"an incident there is not": {exitError, []string{"incident", "show", "INC-1", "--log", drillLog}, "hint: ctwarden incident list --log "},
		"no name":                  {exitUsage, []string{"incident", "report"}, "ctwarden incident report --help"},
		"another form":             {exitUsage, []string{"incident", "report", "last", "-o", "x.pdf"}, ".html, .md, .json or .txt"},
		"two forms":                {exitUsage, []string{"incident", "report", "last", "--json", "-o", "x.md"}, "another form"},
		"a number below 0":         {exitUsage, []string{"incident", "list", "-n", "-1"}, "expected a number from 0"},
		"a port that is none":      {exitUsage, []string{"recommend", "--notrack", "80"}, "80/tcp"},
		"a port of no protocol":    {exitUsage, []string{"recommend", "--notrack", "80/sctp"}, "80/tcp"},
		"port 0":                   {exitUsage, []string{"recommend", "--notrack", "0/tcp"}, "80/tcp"},
		"a replay of nothing":      {exitError, []string{"replay", "INC-1", "--log", drillLog}, "no incident"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, stderr := runCommand(t, tt.code, tt.args...); !strings.Contains(stderr, tt.want) {
				t.Errorf("stderr %q, want %q", stderr, tt.want)
			}
		})
	}
}

func TestReportFormats(t *testing.T) {
	needDrillLog(t)
	id := lastID(t)
	dir := t.TempDir()
	for ending, want := range map[string]string{
		"html": "<!DOCTYPE html>", "md": "# The connection tracking table", "json": "{\n  \"version\": 1", "txt": "The connection tracking table",
	} {
		name := filepath.Join(dir, "r."+ending)
		runCommand(t, exitOK, "incident", "report", id, "--log", drillLog, "-o", name)
		text, err := os.ReadFile(name)
		if err != nil || !strings.HasPrefix(string(text), want) {
			t.Errorf("%s begins with %.40q, %v", ending, text, err)
		}
		if _, stderr := runCommand(t, exitError, "incident", "report", id, "--log", drillLog, "-o", name); !strings.Contains(stderr, "exists already") {
			t.Errorf("stderr %q to a file that exists", stderr)
		}
		runCommand(t, exitOK, "incident", "report", id, "--log", drillLog, "-o", name, "--force")
	}
}

func TestReadIncidentInTwoPasses(t *testing.T) {
	needDrillLog(t)
	var g incident.Grouper
	if err := readIncidents(t.Context(), drillLog, audit.Filter{}, &g); err != nil {
		t.Fatal(err)
	}
	once := slices.Collect(g.Newest())
	twice, err := readIncident(t.Context(), drillLog, "last")
	if err != nil {
		t.Fatal(err)
	}
	a, b := report.New(once[0], once[0].End), report.New(twice, once[0].End)
	if diff := cmp.Diff(asJSON(t, a), asJSON(t, b)); diff != "" {
		t.Errorf("read once and twice (-once +twice):\n%s", diff)
	}
}

func asJSON(t *testing.T, r *report.Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReadIncidentsOfDamagedLog(t *testing.T) {
	needDrillLog(t)
	text, err := os.ReadFile(drillLog)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	damaged := bytes.Join(append(lines[:5:5], append([][]byte{[]byte("\x1b[2Jnot a record\n"), bytes.Repeat([]byte("A"), 200<<10), []byte("\n")}, lines[5:]...)...), nil)
	name := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(name, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := runCommand(t, exitOK, "incident", "report", "last", "--log", name)
	if !strings.Contains(out, "WHAT THIS REPORT DOES NOT KNOW") || strings.Contains(out, "\x1b") {
		t.Errorf("report:\n%s", out)
	}
}

func TestRecommendKeepsExistingFiles(t *testing.T) {
	needDrillLog(t)
	dir := filepath.Join(t.TempDir(), "fix")
	runCommand(t, exitOK, "recommend", "--log", drillLog, "--notrack", "6379/tcp", "--write", dir)
	var found []string
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			name, _ := filepath.Rel(dir, path)
			found = append(found, fmt.Sprintf("%s %o", name, info.Mode().Perm()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"iptables/90-notrack.rules 644", "modprobe.d/90-conntrack.conf 644", "modules-load.d/90-conntrack.conf 644",
		"nftables.d/90-notrack.nft 644", "sysctl.d/90-conntrack.conf 644", "udev/rules.d/90-conntrack.rules 644",
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if err := os.Remove(filepath.Join(dir, "modprobe.d/90-conntrack.conf")); err != nil {
		t.Fatal(err)
	}
	if _, stderr := runCommand(t, exitError, "recommend", "--log", drillLog, "--write", dir); !strings.Contains(stderr, "nothing was written") {
		t.Errorf("stderr %q", stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "modprobe.d/90-conntrack.conf")); err == nil {
		t.Error("half of the files were written")
	}
}

func TestRecommendStaysInDirectory(t *testing.T) {
	needDrillLog(t)
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "sysctl.d")); err != nil {
		t.Fatal(err)
	}
	runCommand(t, exitError, "recommend", "--log", drillLog, "--write", dir)
	if left, err := os.ReadDir(outside); err != nil || len(left) != 0 {
		t.Errorf("outside of the directory: %v, %v", left, err)
	}
}

func TestReplayIsCloseToRecord(t *testing.T) {
	needDrillLog(t)
	i, err := readIncident(t.Context(), drillLog, "last")
	if err != nil {
		t.Fatal(err)
	}
	limits := policy.Defaults()
	played, err := replay.Run(&i, &limits)
	if err != nil {
		t.Fatal(err)
	}
	model, counted := played.Model.Policy.Losses.EarlyDropped, played.Recorded.Evicted
	if model*2 < counted || counted*2 < model {
		t.Errorf("the model evicted %d entries, the kernel %d", model, counted)
	}
	if other := played.Other.Policy.Losses.EarlyDropped; other >= model {
		t.Errorf("limits that may raise max evicted %d, those that may not %d", other, model)
	}
	out, _ := runCommand(t, exitOK, "replay", "last", "--log", drillLog)
	for _, want := range []string{"counted", "set nf_conntrack_max", "and evicted", "those in force on this host (others: --config FILE)"} {
		if !strings.Contains(out, want) {
			t.Errorf("the replay lacks %q:\n%s", want, out)
		}
	}
}

func TestAuditTailOfLastIncident(t *testing.T) {
	needDrillLog(t)
	last, _ := runCommand(t, exitOK, "audit", "show", "--incident", "last", "--log", drillLog)
	named, _ := runCommand(t, exitOK, "audit", "show", "--incident", lastID(t), "--log", drillLog)
	if last != named || !strings.Contains(last, "incident.open") {
		t.Errorf("of the last: %d bytes, of the one with its name: %d", len(last), len(named))
	}
}
