package cli

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/report"
)

// oldLogs unpacks the logs that the program of commit 8eed30d wrote on Linux
// 6.18, and returns the directory. audit.jsonl is a daemon's: it has a segment
// that was rotated, an incident, a change of a timeout from outside, a pause
// and a resume, reloads of which one was refused, a revert, and a restart.
// drill.jsonl is what drill --json printed.
func oldLogs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	packed, err := filepath.Glob("testdata/log-8eed30d/*.gz")
	if err != nil || len(packed) != 3 {
		t.Fatalf("%d files, %v", len(packed), err)
	}
	for _, path := range packed {
		if err := unpack(path, filepath.Join(dir, strings.TrimSuffix(filepath.Base(path), ".gz"))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func unpack(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	text, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	content, err := io.ReadAll(text)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o600)
}

// TestVerifyAcceptsOldLog: the chain holds, over segments too, and every plan is
// decided again as it was. A plan that is disputed here means that the policy
// has changed: that takes another policy version.
func TestVerifyAcceptsOldLog(t *testing.T) {
	dir := oldLogs(t)
	for name, want := range map[string]string{"audit.jsonl": "70 records, 0 problems\n", "drill.jsonl": "28 records, 0 problems\n"} {
		if out, _ := runCommand(t, exitOK, "audit", "verify", "--log", filepath.Join(dir, name)); out != want {
			t.Errorf("%s: verify printed %q, want %q", name, out, want)
		}
	}
}

// TestVerifyFindsChangedOldLog: what holds above does not hold for any text.
func TestVerifyFindsChangedOldLog(t *testing.T) {
	path := filepath.Join(oldLogs(t), "audit.jsonl")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "night shift", "day shift!!", 1)
	if changed == string(text) {
		t.Fatal("the log has no night shift")
	}
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _ := runCommand(t, exitFound, "audit", "verify", "--log", path); !strings.Contains(out, "altered") {
		t.Errorf("verify printed %q", out)
	}
}

// TestReadOldLog counts the records by kind.
func TestReadOldLog(t *testing.T) {
	got := map[record.Kind]int{}
	for r, err := range audit.Read(t.Context(), filepath.Join(oldLogs(t), "audit.jsonl"), audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		got[r.Kind]++
		if r.Sentence() == "" {
			t.Errorf("record %d, %s, has no sentence", r.Seq, r.Kind)
		}
	}
	want := map[record.Kind]int{
		"census": 7, "config": 18, "hold": 5, "incident.open": 1, "incident.close": 1, "level": 4, "outcome": 8, "override": 1,
		"pause": 2, "plan": 4, "resume": 2, "revert": 1, "sample": 8, "start": 2, "stop": 2, "verdict": 4,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records by kind (-want +got):\n%s", diff)
	}
}

// figures are the key figures of an incident.
type figures struct {
	Status, Level, Cause         string
	Seq, LastSeq, Peak, Max      uint64
	Packets, Evicted             uint64
	Done, Would, Back, Decisions int
	Curve, Changed               bool
}

// TestListAndReportOldLog pins the figures of its incidents.
func TestListAndReportOldLog(t *testing.T) {
	dir := oldLogs(t)
	for name, want := range map[string]figures{
		"audit.jsonl": {
			Status: "closed", Level: "exhausted", Cause: "half_open", Seq: 3, LastSeq: 66, Peak: 12000, Max: 262144,
			Done: 6, Decisions: 21, Curve: true,
		},
		"drill.jsonl": {
			Status: "closed", Level: "exhausted", Cause: "half_open", Seq: 3, LastSeq: 28, Peak: 262144, Max: 262144,
			Evicted: 232599, Done: 4, Would: 1, Decisions: 10, Curve: true,
		},
	} {
		path := filepath.Join(dir, name)
		out, _ := runCommand(t, exitOK, "incident", "list", "--json", "--log", path)
		var list []incident.Incident
		if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 {
			t.Fatalf("%s: %d incidents, %v", name, len(list), err)
		}
		out, _ = runCommand(t, exitOK, "incident", "report", "last", "--json", "--log", path)
		var r report.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatal(err)
		}
		i := &r.Incident
		got := figures{
			string(i.Status), i.Level.String(), i.Cause.String(), i.Seq, i.LastSeq, i.Peak.Entries, i.Peak.Max,
			i.Losses.Packets, i.Losses.Evicted, i.Counts.Done, i.Counts.Would, i.Counts.Restored, len(i.Decisions),
			len(i.Curve) > 10, len(i.Changed) > 0,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: incident (-want +got):\n%s", name, diff)
		}
		if list[0].ID != i.ID || list[0].Peak != i.Peak || list[0].Counts != i.Counts {
			t.Errorf("%s: list and report differ: %+v, %+v", name, list[0], i)
		}
		text, _ := runCommand(t, exitOK, "incident", "report", i.ID, "--log", path)
		for _, part := range []string{i.ID, "262,144", "half-open", "/etc/sysctl.d/", "6.18"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s: the report in text does not have %q:\n%s", name, part, text)
			}
		}
	}
}
