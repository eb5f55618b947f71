package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExampleReportIsCurrent writes the report of the drill whose log is
// kept here, and compares it with the example of the documents. With -update it
// writes the example anew; its picture (a screenshot of the page, 1000 pixels
// wide) is to be taken again then.
func TestExampleReportIsCurrent(t *testing.T) {
	written := regexp.MustCompile(`Written by ctwarden on [^<]* from its audit log`)
	for _, name := range []string{"example-incident.md", "example-incident.html"} {
		was := page(t, "../../docs/"+name)
		out := filepath.Join(t.TempDir(), name)
		runCommand(t, exitOK, "incident", "report", "last", "--log", "testdata/drill-host-wide.jsonl", "-o", out)
		is, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		want, got := written.ReplaceAllString(string(is), "WRITTEN"), written.ReplaceAllString(was, "WRITTEN")
		if want == got {
			continue
		}
		if !*update {
			t.Errorf("docs/%s is not what the report says now: go test ./cmd/ctwarden -run TheExample -update (-report +example):\n%s", name, cmp.Diff(want, got))
		} else if err := os.WriteFile("../../docs/"+name, is, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExampleLogVerifies(t *testing.T) {
	runCommand(t, exitOK, "audit", "verify", "--log", "testdata/drill-host-wide.jsonl")
}
