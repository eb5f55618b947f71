package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/drill"
	"github.com/ctwarden/ctwarden/policy"
)

// A prometheus is a server of its own that reads one target.
type prometheus struct {
	t    *testing.T
	base string
}

// startPrometheus runs a server that scrapes target every second, under the
// rules that are shipped, but with alerts that need not wait.
func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("needs prometheus (Debian package prometheus)")
	}
	rules, err := os.ReadFile("../../packaging/prometheus/ctwarden.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules = regexp.MustCompile(`(?m)^        for: .*\n`).ReplaceAll(rules, nil)
	dir := t.TempDir()
	config := fmt.Sprintf(`global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs: [{job_name: ctwarden, static_configs: [{targets: ['%s']}]}]
`, target)
	for name, text := range map[string][]byte{"rules.yml": rules, "prometheus.yml": []byte(config)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.Command(binary, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--log.level=error")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
	})
	return &prometheus{t, "http://" + address}
}

// get asks the API and reports whether it answered.
func (p *prometheus) get(path string, into any) bool {
	p.t.Helper()
	answer, err := http.Get(p.base + path)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return false
	}
	if answer.StatusCode != http.StatusOK {
		if answer.StatusCode == http.StatusBadRequest {
			p.t.Errorf("%s: %s", path, text)
		}
		return false
	}
	return json.Unmarshal(text, into) == nil
}

// results returns how many series a query gives.
func (p *prometheus) results(query string) int {
	p.t.Helper()
	var answer struct {
		Data struct {
			Result []any `json:"result"`
		} `json:"data"`
	}
	p.get("/api/v1/query?query="+url.QueryEscape(query), &answer)
	return len(answer.Data.Result)
}

// fires waits until an alert fires, or no longer does.
func (p *prometheus) fires(alert string, want bool) {
	p.t.Helper()
	query := fmt.Sprintf("ALERTS{alertname=%q,alertstate=\"firing\"}", alert)
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if (p.results(query) > 0) == want {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s: firing is never %v", alert, want)
		}
	}
}

// queries returns every query of the dashboard, for every host.
func queries(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile("../../packaging/grafana/ctwarden.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			all = append(all, strings.ReplaceAll(target.Expr, "$instance", ".*"))
		}
	}
	return all
}

// TestPrometheusSeesAnIncident floods a table for real and looks at it through
// the eyes of a real Prometheus: the alert fires and clears, and every query of
// the dashboard gives something.
func TestPrometheusSeesAnIncident(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for entries to expire: a minute")
	}
	stage := newStage(t)
	limits := policy.Defaults()
	limits.NoHostWide = true
	// A large table that is a tenth full plays a small one that is full.
	l := &limits.Levels
	l.ElevatedEnter, l.ElevatedLeave, l.HighEnter, l.HighLeave = 300, 100, 500, 400
	l.ExhaustedEnter, l.ExhaustedLeave, l.NearMax, l.ElevatedSoonFill = 800, 600, 700, 200
	l.CalmAfter, limits.Verify.Settle = time.Second, 0
	limits.Delete.MinIdle, limits.Delete.SynSentIdle = time.Second, time.Second
	p, start := newPost(t, stage, limits)
	d := &running{say: p.say, since: time.Now()}
	p.told = d.tally.Told
	d.post = *p
	defer start()()

	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := d.metrics(w); err != nil {
			t.Error(err)
		}
	}))
	defer page.Close()
	server := startPrometheus(t, strings.TrimPrefix(page.URL, "http://"))
	for end := time.Now().Add(time.Minute); server.results("ctwarden_build_info") == 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("Prometheus never read the page")
		}
	}
	server.fires("CtwardenTableExhausted", false)

	flood, err := drill.NewFlood(stage.NS)
	if err != nil {
		t.Fatal(err)
	}
	defer flood.Close()
	most := p.loop.Status().Tables[0].Assessment.Observation.Table.Max
	if err := flood.Run(t.Context(), most/50, most/8); err != nil {
		t.Fatal(err)
	}
	server.fires("CtwardenTableExhausted", true)
	for _, query := range queries(t) {
		// What is filtered by its value may be empty when all is well.
		mayBeEmpty := strings.Contains(query, "> 0")
		if n := server.results(query); n == 0 && !mayBeEmpty {
			t.Errorf("no data: %s", query)
		}
	}
	server.fires("CtwardenTableExhausted", false)
}
