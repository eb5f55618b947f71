package metrics_test

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/metrics"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

var update = flag.Bool("update", false, "rewrite the table in docs/metrics.md")

// flooded is a daemon in the middle of an incident.
func flooded() *status.Status {
	now := policy.BootTime(time.Hour)
	at := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	own := loop.TableStatus{
		Incident: "INC-1", Level: policy.High, Cause: policy.HalfOpen, Held: policy.HeldBudget,
		State: policy.State{PausedUntil: now.Add(90 * time.Second), SafetyPauseUntil: now - 1},
		Assessment: policy.Assessment{
			Fullness: 8750, FullIn: 1500 * time.Millisecond,
			Trend:  policy.Trend{Fast: 100, Slow: 100},
			Budget: policy.Budget{Bytes: 1 << 30, PerEntry: 384, Max: 2_000_000},
			Observation: policy.Observation{
				Now: now, At: at,
				Table: conntrack.Table{
					Entries: 875, Max: 1000, Buckets: 512,
					Counters: conntrack.Counters{Drop: 10, InsertFailed: 4, ChainTooLong: 1, EarlyDrop: 3},
				},
				Memory: policy.Memory{Pressure: 125},
				Kernel: policy.Kernel{MaxWritable: true, Entries: true},
			},
		},
	}
	return &status.Status{
		Version: `1.0 "beta"`, Since: at,
		Status:     loop.Status{At: at, Mode: policy.Enforce, Tables: []loop.TableStatus{own}, Errors: map[string]string{"save": "x"}},
		Sources:    map[string]status.Source{"kmsg": {Status: watcher.Status{Alive: true, Lines: 7}}, "journald": {Status: watcher.Status{Lost: 2, Missed: 5, At: at}}},
		Namespaces: &watcher.NamespacesReport{Namespaces: 200, Unread: 3, Hidden: 4, Entries: 9000, Most: 8000, SweepNS: 12e6},
		Changed:    make([]remediate.Row, 3), Audit: &status.Audit{Checkpoint: audit.Checkpoint{Seq: 9}},
	}
}

// exporterOf returns an exporter of s.
func exporterOf(s *status.Status) *metrics.Exporter {
	return metrics.New(func() *status.Status { return s })
}

// scrape returns what a Prometheus server receives.
func scrape(t *testing.T, p *metrics.Exporter) string {
	t.Helper()
	answer, request := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept-Encoding", "gzip") // is declined: see New
	p.ServeHTTP(answer, request)
	if answer.Code != http.StatusOK || !strings.HasPrefix(answer.Header().Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%d %s\n%s", answer.Code, answer.Header(), answer.Body)
	}
	return answer.Body.String()
}

func want(t *testing.T, page string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+page, "\n"+line+"\n") {
			family, _, _ := strings.Cut(strings.FieldsFunc(line, func(r rune) bool { return r == '{' || r == ' ' })[0], " ")
			var near []string
			for l := range strings.Lines(page) {
				if strings.HasPrefix(l, family) {
					near = append(near, l)
				}
			}
			t.Errorf("no line %s; near it:\n%s", line, strings.Join(near, ""))
		}
	}
}

func TestSeriesOfAStatus(t *testing.T) {
	want(t, scrape(t, exporterOf(flooded())),
		`ctwarden_build_info{goversion="`+runtime.Version()+`",version="1.0 \"beta\""} 1`,
		`ctwarden_start_time_seconds 1.772334e+09`,
		`ctwarden_mode{mode="enforce"} 1`, `ctwarden_mode{mode="observe"} 0`,
		`ctwarden_changed_values 3`, `ctwarden_troubles 1`, `ctwarden_audit_healthy 1`, `ctwarden_audit_sequence 9`,
		`ctwarden_table_entries{netns="0"} 875`, `ctwarden_table_max_entries{netns="0"} 1000`,
		`ctwarden_table_fullness_ratio{netns="0"} 0.875`, `ctwarden_table_full_in_seconds{netns="0"} 1.5`,
		`ctwarden_table_present{netns="0"} 1`, `ctwarden_incident_open{netns="0"} 1`,
		`ctwarden_table_dropped_packets_total{netns="0"} 10`, `ctwarden_table_full_dropped_packets_total{netns="0"} 7`,
		`ctwarden_table_early_dropped_entries_total{netns="0"} 3`,
		`ctwarden_level{level="high",netns="0"} 1`, `ctwarden_level{level="calm",netns="0"} 0`,
		`ctwarden_cause{cause="half_open",netns="0"} 1`, `ctwarden_cause{cause="none",netns="0"} 0`,
		`ctwarden_held{hold="budget",netns="0"} 1`,
		`ctwarden_budget_max_entries 2e+06`, `ctwarden_budget_usable 1`, `ctwarden_memory_pressure_ratio 0.0125`,
		`ctwarden_writable{what="max"} 1`, `ctwarden_writable{what="timeouts"} 0`,
		`ctwarden_paused_seconds 90`, `ctwarden_breaker_open_seconds 0`,
		`ctwarden_source_alive{source="journald"} 0`, `ctwarden_source_alive{source="kmsg"} 1`,
		`ctwarden_table_info{name="host",netns="0"} 1`,
		`ctwarden_source_lines_total{source="kmsg"} 7`, `ctwarden_source_lost_records_total{source="journald"} 2`,
		`ctwarden_source_missed_lines_total{source="journald"} 5`, `ctwarden_source_last_record_time_seconds{source="journald"} 1.772334e+09`,
		`ctwarden_source_last_record_time_seconds{source="kmsg"} 0`,
		`ctwarden_netns_found 200`, `ctwarden_netns_unread 3`, `ctwarden_netns_hidden_processes 4`, `ctwarden_netns_entries 9000`,
		`ctwarden_netns_fullest_entries 8000`, `ctwarden_netns_sweep_seconds 0.012`,
	)
}

func TestNoSeriesOfNamespacesThatAreNotWatched(t *testing.T) {
	s := flooded()
	s.Namespaces = nil
	if p := scrape(t, exporterOf(s)); strings.Contains(p, "ctwarden_netns_") {
		t.Errorf("namespaces that are not watched have series:\n%s", p)
	}
}

func TestATableThatDoesNotGrowIsNeverFull(t *testing.T) {
	s := flooded()
	s.Tables[0].Assessment.FullIn = policy.Never
	s.Tables[0].Assessment.Observation.Absent = true
	s.Tables[0].Held = policy.NotHeld
	s.Tables[0].Incident = ""
	p := scrape(t, exporterOf(s))
	want(t, p, `ctwarden_table_full_in_seconds{netns="0"} +Inf`, `ctwarden_table_present{netns="0"} 0`, `ctwarden_incident_open{netns="0"} 0`)
	if strings.Contains(p, "ctwarden_held{") {
		t.Error("held although it is not")
	}
}

func TestSeriesBeforeTheFirstTurn(t *testing.T) {
	p := scrape(t, exporterOf(&status.Status{}))
	want(t, p, `ctwarden_last_turn_time_seconds 0`, `ctwarden_audit_healthy 0`)
	if strings.Contains(p, "ctwarden_table_") {
		t.Error("a table has series")
	}
}

func TestTheSeriesOfManyNamespacesAreBounded(t *testing.T) {
	s := flooded()
	s.Tables[0].Assessment.Fullness = 1
	for i := range 1000 {
		table := loop.TableStatus{NetNS: uint32(i + 1), Name: fmt.Sprintf("pod %d", i)}
		table.Assessment.Fullness = conntrack.Permyriad(i)
		s.Tables = append(s.Tables, table)
	}
	p := scrape(t, exporterOf(s))
	want(t, p, `ctwarden_tables 1001`, `ctwarden_table_fullness_ratio{netns="0"} 0.0001`, `ctwarden_table_fullness_ratio{netns="1000"} 0.0999`, `ctwarden_table_info{name="pod 999",netns="1000"} 1`)
	if n := strings.Count(p, "\nctwarden_table_entries{"); n != 64 {
		t.Errorf("%d tables have series, want 64", n)
	}
	if strings.Contains(p, `netns="1"}`) {
		t.Error("an empty table has series before a full one")
	}
	if s.Tables[1].NetNS != 1 {
		t.Error("the snapshot was put into another order")
	}
}

// TestACounterNeverGoesBack: the kernel counts an insertion that failed without
// a drop, or the metrics are read between the two. A server that reads a smaller
// number takes it for a restart, and counts all of it once more.
func TestACounterNeverGoesBack(t *testing.T) {
	s := flooded()
	p := metrics.New(func() *status.Status { return s })
	for _, step := range []struct {
		what     string
		counters conntrack.Counters
		want     string
	}{
		{"at first", conntrack.Counters{Drop: 10, InsertFailed: 4, ChainTooLong: 1}, "7"},
		{"insertions fail and drop nothing", conntrack.Counters{Drop: 10, InsertFailed: 6, ChainTooLong: 1}, "7"},
		{"packets are lost again", conntrack.Counters{Drop: 15, InsertFailed: 6, ChainTooLong: 1}, "10"},
		{"another namespace has the number", conntrack.Counters{Drop: 2}, "2"},
	} {
		s.Tables = slices.Clone(s.Tables)
		s.Tables[0].Assessment.Observation.Table.Counters = step.counters
		t.Log(step.what)
		want(t, scrape(t, p), `ctwarden_table_full_dropped_packets_total{netns="0"} `+step.want)
	}
}

// appended makes a record as the log does.
func appended(t *testing.T, log *audit.Log, p record.Payload) audit.Record {
	t.Helper()
	r, err := log.Append(p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRecordsAreCounted(t *testing.T) {
	at := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	log, err := audit.Open(filepath.Join(t.TempDir(), "audit.jsonl"), audit.Options{Now: func() time.Time { return at.Add(2 * time.Millisecond) }})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	exporter := exporterOf(flooded())
	count := func(p record.Payload) { t.Helper(); exporter.Count(appended(t, log, p)) }
	outcome := func(o policy.Outcome) { t.Helper(); count(&record.Outcome{Outcome: o}) }
	count(&record.Plan{Decision: record.Decision{Observation: policy.Observation{At: at}}})
	// The wall clock was set back between the look and the record.
	count(&record.Plan{Decision: record.Decision{Observation: policy.Observation{At: at.Add(time.Hour)}}})
	outcome(policy.Outcome{Action: policy.Action{Type: policy.AgeEntries}, OK: true, Changed: 1})
	outcome(policy.Outcome{Action: policy.Action{Type: policy.RaiseMax}, OK: true, Took: 100 * time.Microsecond})
	outcome(policy.Outcome{Action: policy.Action{Type: policy.RaiseMax}, ChangedExternally: true, Took: time.Minute})
	outcome(policy.Outcome{Action: policy.Action{Type: policy.RaiseMax}, Error: "no"})
	outcome(policy.Outcome{Action: policy.Action{Type: policy.RaiseMax, Would: true}, OK: true, Changed: 5})
	outcome(policy.Outcome{Action: policy.Action{Type: policy.DeleteEntries}, OK: true, Changed: 40, Took: time.Second})
	outcome(policy.Outcome{Action: policy.Action{Type: policy.DeleteEntries}, Error: "half", Changed: 2, Took: time.Second})
	count(&record.Verdict{Verdict: policy.Verdict{Type: policy.RaiseMax, Result: policy.Helped}})
	count(&record.Hold{Decision: record.Decision{Plan: policy.Plan{Held: policy.HeldBudget}}})
	count(&record.Samples{Rows: make([]record.Sample, 1)})
	want(t, scrape(t, exporter),
		`ctwarden_audit_records_total{kind="outcome"} 7`, `ctwarden_audit_records_total{kind="sample"} 1`, `ctwarden_audit_records_total{kind="start"} 0`,
		`ctwarden_actions_total{action="raise_max",result="ok"} 1`, `ctwarden_actions_total{action="raise_max",result="foreign"} 1`,
		`ctwarden_actions_total{action="raise_max",result="failed"} 1`, `ctwarden_actions_total{action="raise_max",result="would"} 1`,
		`ctwarden_actions_total{action="resize_hash",result="ok"} 0`,
		`ctwarden_entries_changed_total{action="delete_entries"} 42`, `ctwarden_entries_changed_total{action="age_entries"} 1`,
		`ctwarden_verdicts_total{action="raise_max",result="helped"} 1`, `ctwarden_verdicts_total{action="raise_max",result="worse"} 0`,
		`ctwarden_holds_total{hold="budget"} 1`, `ctwarden_holds_total{hold="no_audit"} 0`,
		`ctwarden_decision_seconds_bucket{le="0.001"} 1`, `ctwarden_decision_seconds_bucket{le="0.003"} 2`,
		`ctwarden_decision_seconds_sum 0.002`, `ctwarden_decision_seconds_count 2`,
		`ctwarden_action_seconds_bucket{action="raise_max",le="0.0001"} 2`, `ctwarden_action_seconds_bucket{action="raise_max",le="30"} 2`,
		`ctwarden_action_seconds_bucket{action="raise_max",le="+Inf"} 3`, `ctwarden_action_seconds_count{action="raise_max"} 3`,
		`ctwarden_action_seconds_sum{action="delete_entries"} 2`,
	)
}

func TestLabelsAreEscaped(t *testing.T) {
	s := flooded()
	s.Version = "a\\b\"c\nd\xff"
	want(t, scrape(t, exporterOf(s)), `ctwarden_build_info{goversion="`+runtime.Version()+`",version="a\\b\"c\nd�"} 1`)
}

func TestSeriesOfTheProcess(t *testing.T) {
	p := scrape(t, exporterOf(flooded()))
	for name, most := range map[string]float64{
		"cpu_seconds_total": 1e6, "resident_memory_bytes": 1 << 32, "open_fds": 1000,
	} {
		m := regexp.MustCompile(`(?m)^ctwarden_process_` + name + ` (\S+)$`).FindStringSubmatch(p)
		if m == nil {
			t.Errorf("no %s", name)
			continue
		}
		if v, err := strconv.ParseFloat(m[1], 64); err != nil || v <= 0 || v > most {
			t.Errorf("%s is %s", name, m[1])
		}
	}
	if strings.Contains(p, "process_network") {
		t.Error("the traffic of the host has the name of the process")
	}
}

func TestInvalidSeriesAreAnError(t *testing.T) {
	// Two sources of one name, once their names are made valid.
	s := flooded()
	s.Sources = map[string]status.Source{"a\xff": {}, "a\xfe": {}}
	answer := httptest.NewRecorder()
	exporterOf(s).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusInternalServerError || strings.Contains(answer.Body.String(), "# HELP") {
		t.Errorf("%d\n%s", answer.Code, answer.Body)
	}
	path := filepath.Join(t.TempDir(), "ctwarden.prom")
	if err := exporterOf(flooded()).WriteFile(path); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := exporterOf(s).WriteFile(path); err == nil {
		t.Error("half of the metrics were written")
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was touched: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("the collector can't read the file: %v, %v", info, err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// TestTheNamesAreThoseOfTheDocument pins name, type and meaning: they are a
// contract with everybody's rules and dashboards.
func TestTheNamesAreThoseOfTheDocument(t *testing.T) {
	var table strings.Builder
	table.WriteString("| metric | type | meaning |\n|---|---|---|\n")
	family := regexp.MustCompile(`(?m)^# HELP (\S+) (.*)\n# TYPE \S+ (\S+)$`)
	for _, m := range family.FindAllStringSubmatch(scrape(t, exporterOf(flooded())), -1) {
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", m[1], m[3], m[2])
	}
	const path = "../../docs/metrics.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- generated: go test ./internal/metrics -update -->\n", "<!-- end -->"
	before, rest, ok1 := strings.Cut(string(text), begin)
	now, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", path)
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+table.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(table.String(), now); diff != "" {
		t.Errorf("go test ./internal/metrics -update, if that is meant (-want +got):\n%s", diff)
	}
}

func TestPromtoolFindsNothing(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("needs promtool (Debian package prometheus)")
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(scrape(t, exporterOf(flooded())))
	if text, err := cmd.CombinedOutput(); err != nil || len(text) > 0 {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestNumbersAreWhole(t *testing.T) {
	s := flooded()
	s.Tables[0].Assessment.Trend.Fast = math.Inf(-1)
	s.Tables[0].Assessment.Trend.Slow = math.Inf(-1)
	if p := scrape(t, exporterOf(s)); !strings.Contains(p, "-Inf") || strings.Contains(p, "NaN") {
		t.Error("a rate that is no number is not written as Prometheus reads it")
	}
}
