package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/incident"
)

func TestParseTimeUsesLocalZone(t *testing.T) {
	zone := time.FixedZone("IST", 5*3600+1800)
	now := time.Date(2026, 11, 21, 2, 30, 0, 0, zone) // 21:00 of the day before, in UTC
	for text, want := range map[string]string{
		"2026-11-20 19:00:00":           "2026-11-20T13:30:00Z",
		"2026-11-20T19:00:00":           "2026-11-20T13:30:00Z",
		"2026-11-20 19:00":              "2026-11-20T13:30:00Z",
		"2026-11-20 19:00:00.25":        "2026-11-20T13:30:00.25Z",
		"2026-11-20":                    "2026-11-19T18:30:00Z",
		"2026-11-20 19:00:00Z":          "2026-11-20T19:00:00Z",
		"2026-11-20 19:00Z":             "2026-11-20T19:00:00Z",
		"2026-11-20 19:00:00.123Z":      "2026-11-20T19:00:00.123Z",
		"2026-11-20 19:00:00 UTC":       "2026-11-20T19:00:00Z",
		"2026-11-20 UTC":                "2026-11-20T00:00:00Z",
		"2026-11-20T19:00:00.5+01:00":   "2026-11-20T18:00:00.5Z",
		"2026-11-20 19:00:00-08:00":     "2026-11-21T03:00:00Z",
		"2026-11-20T19:00:00.12345678Z": "2026-11-20T19:00:00.12345678Z",
		"01:15":                         "2026-11-20T19:45:00Z",
		"01:15:10":                      "2026-11-20T19:45:10Z",
		"20:15 UTC":                     "2026-11-20T20:15:00Z",
		"today":                         "2026-11-20T18:30:00Z",
		"yesterday":                     "2026-11-19T18:30:00Z",
		"now":                           "2026-11-20T21:00:00Z",
		"2h":                            "2026-11-20T19:00:00Z",
		"-2h":                           "2026-11-20T19:00:00Z",
		"1h30m ago":                     "2026-11-20T19:30:00Z",
		"3d":                            "2026-11-17T21:00:00Z",
	} {
		got, err := parseTime(text, now)
		if err != nil || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%q is %s, %v; want %s", text, got.UTC().Format(time.RFC3339Nano), err, want)
		}
	}
	for _, text := range []string{"soon", "2026-13-01", "25:00", "12", "--2h", "2026-11-20 19:00:00 PST", "d", "-1d ago x", "99999999d", " "} {
		if got, err := parseTime(text, now); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
	if got, err := parseTime("", now); err != nil || !got.IsZero() {
		t.Errorf("no time is %s, %v", got, err)
	}
}

// setZone moves the reader's clock to a zone.
func setZone(t *testing.T, zone *time.Location) {
	here := time.Local
	time.Local = zone
	t.Cleanup(func() { time.Local = here })
}

func TestPrintedTimesParse(t *testing.T) {
	needDrillLog(t)
	for _, zone := range []*time.Location{time.UTC, time.FixedZone("IST", 5*3600+1800), time.FixedZone("PST", -8*3600)} {
		t.Run(zone.String(), func(t *testing.T) {
			setZone(t, zone)
			stderr, _ := runCommand(t, exitOK, "incident", "list", "--json", "--log", drillLog)
			var found []incident.Incident
			if err := json.Unmarshal([]byte(stderr), &found); err != nil || len(found) != 1 {
				t.Fatalf("%d incidents, %v", len(found), err)
			}
			list, _ := runCommand(t, exitOK, "incident", "list", "--log", drillLog)
			words := strings.Fields(strings.Split(list, "\n")[1])
			began := words[1] + " " + words[2]
			if at, err := parseTime(began, time.Now()); err != nil || !at.Equal(found[0].Start.Truncate(time.Second)) {
				t.Errorf("the list says %q, which is %s, %v; it began at %s", began, at, err, found[0].Start)
			}

			shown, _ := runCommand(t, exitOK, "audit", "show", "--since", began, "--kind", "incident.open", "--log", drillLog)
			if strings.Count(shown, "\n") != 1 {
				t.Fatalf("from %s on:\n%s", began, shown)
			}
			opened, _, _ := strings.Cut(shown, "  ")
			if again, _ := runCommand(t, exitOK, "audit", "show", "--since", opened, "--kind", "incident.open", "--log", drillLog); again != shown {
				t.Errorf("since %q:\n%swant:\n%s", opened, again, shown)
			}
			if before, _ := runCommand(t, exitOK, "audit", "show", "--until", opened, "--kind", "incident.open", "--log", drillLog); before != "" {
				t.Errorf("until %q:\n%s", opened, before)
			}

			report, _ := runCommand(t, exitOK, "incident", "show", "last", "--log", drillLog)
			_, from, _ := strings.Cut(report, "\nFrom")
			from, _, _ = strings.Cut(strings.TrimSpace(from), "\n")
			if at, err := parseTime(from, time.Now()); err != nil || !at.Equal(found[0].Start.Truncate(time.Second)) {
				t.Errorf("the report says %q, which is %s, %v; it began at %s", from, at, err, found[0].Start)
			}
		})
	}
}

func TestEmptyTimeSpanIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr := runCommand(t, exitUsage, "audit", "show", "--since", "1h", "--until", "2h", "--log", path); !strings.Contains(stderr, "--since 1h is not before --until 2h") {
		t.Errorf("stderr %q", stderr)
	}
	runCommand(t, exitOK, "audit", "show", "--since", "2h", "--until", "1h", "--log", path)
}

func TestNoRecordFoundIsReported(t *testing.T) {
	needDrillLog(t)
	for _, args := range [][]string{{"audit", "show"}, {"audit", "tail"}, {"audit", "show", "--json"}} {
		out, stderr := runCommand(t, exitOK, append(args, "--since", "now", "--log", drillLog)...)
		if out != "" || stderr != "ctwarden: no record of the log fits\n" {
			t.Errorf("%v: %q, and on the other stream %q", args, out, stderr)
		}
	}
}
