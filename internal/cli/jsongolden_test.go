package cli

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/diagnosis"
	"github.com/ctwarden/ctwarden/internal/report"
	"github.com/ctwarden/ctwarden/internal/status"
)

// goldenLog is the log of a drill with --host-wide.
const goldenLog = "testdata/drill-host-wide.jsonl"

// What depends on when and how fast a command runs.
var (
	whenWritten = regexp.MustCompile(`(?m)^  "written": "[^"]*"`)
	timeTaken   = regexp.MustCompile(`(?m)^    "took_ns": \d+`)
)

// TestCommandJSONMatchesGolden compares what commands print with --json with
// golden files.
func TestCommandJSONMatchesGolden(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
	}{
		{"incident-list", []string{"incident", "list", "--json", "--log", goldenLog}},
		{"incident-report", []string{"incident", "show", "last", "--json", "--log", goldenLog}},
		{"incident-report", []string{"incident", "report", "last", "--json", "--log", goldenLog}},
		{"audit-verify", []string{"audit", "verify", "--json", "--log", goldenLog}},
		{"diagnose-from", []string{"diagnose", "--json", "--from", "testdata/golden/table.conntrack"}},
	} {
		out, _ := runCommand(t, exitOK, c.args...)
		out = whenWritten.ReplaceAllString(out, `  "written": "WHEN"`)
		golden(t, "json/"+c.name+".json", timeTaken.ReplaceAllString(out, `    "took_ns": 0`))
	}
}

// TestSimulateJSONMatchesGolden: of the curve, which is long, the golden file has
// the first points and the sum of all.
func TestSimulateJSONMatchesGolden(t *testing.T) {
	const shown = 600 // bytes of the curve
	for _, scenario := range []string{"syn_flood", "reboot_mid_change"} {
		out, _ := runCommand(t, exitOK, "simulate", scenario, "--json")
		before, curve, found := strings.Cut(out, "\n  \"curve\": [")
		curve, after, ended := strings.Cut(curve, "\n  ],\n")
		if !found || !ended || len(curve) < shown {
			t.Fatalf("%s has no curve:\n%.1000s", scenario, out)
		}
		folded := fmt.Sprintf("%s\n  \"curve\": [%s\n  ... %d bytes, SHA-256 %x\n  ],\n%s",
			before, curve[:shown], len(curve), sha256.Sum256([]byte(curve)), after)
		golden(t, "json/simulate-"+scenario+".json", folded)
	}
}

// TestStatusAndDiagnoseJSONMatchGolden freezes all fields that the two can
// print, and those that they always print.
func TestStatusAndDiagnoseJSONMatchGolden(t *testing.T) {
	full := filled(t, "status", status.Status{})
	text := asGolden(t, full)
	golden(t, "json/status-full.json", text)
	golden(t, "json/status-minimal.json", asGolden(t, status.Status{}))
	golden(t, "json/diagnose-full.json", asGolden(t, filled(t, "diagnose", diagnosis.Diagnosis{})))
	var read status.Status
	if err := json.Unmarshal([]byte(text), &read); err != nil {
		t.Fatalf("status does not read what the daemon answers: %v", err)
	}
	if again := asGolden(t, read); again != text {
		t.Errorf("a status read and printed again is another one:\n%s", again)
	}
}

func asGolden(t *testing.T, v any) string {
	t.Helper()
	var b strings.Builder
	if err := report.WriteJSON(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestLiveJSONHasOnlyGoldenFields runs both commands against this kernel:
// every path in what they print, with its type, stands in the golden files.
func TestLiveJSONHasOnlyGoldenFields(t *testing.T) {
	ns := cttest.NewNS(t)
	cttest.Create(t, ns, cttest.Like(cttest.Unreplied(), 1), cttest.Like(cttest.Assured(), 2))
	live := map[string]string{}
	live["status"], _ = runCommand(t, exitOK, "status", "--json")
	live["diagnose"], _ = runCommand(t, exitOK, "diagnose", "--json", "--netns", fmt.Sprintf("/proc/self/task/%d/ns/net", ns.TID()))
	frozen := map[string][]string{
		"status":   {asGolden(t, filled(t, "status", status.Status{})), asGolden(t, status.Status{})},
		"diagnose": {asGolden(t, filled(t, "diagnose", diagnosis.Diagnosis{})), goldenText(t, "json/diagnose-from.json")},
	}
	for name, text := range live {
		known := map[string]bool{}
		for _, golden := range frozen[name] {
			maps.Copy(known, jsonPaths(t, golden))
		}
		for _, path := range slices.Sorted(maps.Keys(jsonPaths(t, text))) {
			if !known[path] {
				t.Errorf("%s --json prints %s, which no golden file has", name, path)
			}
		}
	}
}

// jsonPaths returns the paths of all values in a JSON text, with their types.
func jsonPaths(t *testing.T, text string) map[string]bool {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	paths := map[string]bool{}
	addPaths(paths, "", v)
	return paths
}

func addPaths(paths map[string]bool, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			addPaths(paths, path+"."+name, value)
		}
	case []any:
		for _, value := range v {
			addPaths(paths, path+"[]", value)
		}
	default:
		paths[fmt.Sprintf("%s %T", path, v)] = true
	}
}
