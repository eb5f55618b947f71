package cli

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
)

// TestVerifyCountsOtherPolicyVersions writes the old log anew, with plans
// that name a version of the policy.
func TestVerifyCountsOtherPolicyVersions(t *testing.T) {
	other := map[string]any{"policy_version": 7, "state": map[string]any{"level": "unheard_of"}, "held": "calm"}
	for name, c := range map[string]struct {
		plan map[string]any // of each plan, other than in the old log
		code int
		want string
		none string
	}{
		"as it was":                 {nil, exitOK, "70 records, 0 problems\n", "policy version"},
		"the version is this one":   {map[string]any{"policy_version": 1}, exitOK, "70 records, 0 problems\n", "policy version"},
		"and another plan":          {map[string]any{"policy_version": 1, "held": "calm"}, exitFound, "70 records, 9 problems\n", "policy version"},
		"no version, another plan":  {map[string]any{"held": "calm"}, exitFound, "disputed", "policy version"},
		"no version, another state": {map[string]any{"state": other["state"]}, exitFound, "disputed", "policy version"},
		"the version is another":    {other, exitOK, "9 plans were decided by policy version 7, this program has version 1: not decided again\n70 records, 0 problems\n", "disputed"},
	} {
		t.Run(name, func(t *testing.T) {
			path := rewritten(t, c.plan)
			out, _ := runCommand(t, c.code, "audit", "verify", "--log", path)
			if !strings.Contains(out, c.want) || strings.Contains(out, c.none) {
				t.Errorf("verify printed %q, want %q and no %q", out, c.want, c.none)
			}
			out, _ = runCommand(t, c.code, "audit", "verify", "--json", "--log", path)
			var result struct {
				Apart []struct {
					Version int `json:"policy_version"`
					Plans   int `json:"plans"`
				} `json:"not_redecided"`
			}
			if err := json.Unmarshal([]byte(out), &result); err != nil {
				t.Fatal(err)
			}
			apart := len(result.Apart) == 1 && result.Apart[0].Version == 7 && result.Apart[0].Plans == 9
			if want := c.plan["policy_version"] == 7; want != apart || !want && len(result.Apart) > 0 {
				t.Errorf("counted apart: %+v", result.Apart)
			}
			if out, _ = runCommand(t, exitOK, "audit", "verify", "--no-redecide", "--log", path); out != "70 records, 0 problems\n" {
				t.Errorf("without deciding again, verify printed %q", out)
			}
		})
	}
}

// rewritten returns a log with the records of the old one, and the given fields
// in each record of a plan.
func rewritten(t *testing.T, fields map[string]any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	log, err := audit.Open(path, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for r, err := range audit.Read(t.Context(), filepath.Join(oldLogs(t), "audit.jsonl"), audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		var payload map[string]any
		text := r.JSON()
		if err := json.Unmarshal(text, &payload); err != nil {
			t.Fatal(err)
		}
		if r.Kind == record.KindPlan || r.Kind == record.KindHold {
			if fields["held"] != nil {
				delete(payload, "actions")
			}
			maps.Copy(payload, fields)
			if text, err = json.Marshal(payload); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := log.Append(&record.Other{Name: r.Kind, JSON: text}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}
