package ops

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/config"
)

const (
	root      = "../../"
	rules     = root + "packaging/prometheus/ctwarden.rules.yml"
	tests     = root + "packaging/prometheus/ctwarden.test.yml"
	week      = root + "packaging/prometheus/ctwarden.week.test.yml"
	dashboard = root + "packaging/grafana/ctwarden.json"
	handbook  = root + "docs/operations.md"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(root + pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no file is %s: %v", pattern, err)
	}
	return paths
}

func TestProfilesLoadAndAreDocumented(t *testing.T) {
	book := read(t, handbook)
	for _, path := range glob(t, "packaging/profiles/*.yaml") {
		c, err := config.Load(config.Source{Path: path, Explicit: true})
		if err != nil {
			t.Error(err)
			continue
		}
		if changes := config.Diff(config.Default(), *c); len(changes) == 0 {
			t.Errorf("%s changes nothing", path)
		}
		if name := filepath.Base(path); !strings.Contains(book, "profiles/"+name) {
			t.Errorf("the handbook does not tell of %s", name)
		}
	}
}

// headings returns the anchors that GitHub makes of a page's headings.
func headings(page string) map[string]bool {
	anchors := map[string]bool{}
	drop := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		anchors[strings.ReplaceAll(strings.ToLower(drop.ReplaceAllString(m[1], "")), " ", "-")] = true
	}
	return anchors
}

func TestAlertsHaveRunbookAndTest(t *testing.T) {
	anchors, tested := headings(read(t, handbook)), read(t, tests)+read(t, week)
	alerts := regexp.MustCompile(`(?ms)- alert: (\w+)$(.*?)runbook_url: \S+/docs/operations\.md#(\S+)$`).FindAllStringSubmatch(read(t, rules), -1)
	if n := strings.Count(read(t, rules), "- alert:"); n != len(alerts) || n == 0 {
		t.Errorf("%d alerts, %d with a runbook", n, len(alerts))
	}
	for _, alert := range alerts {
		if !anchors[alert[3]] {
			t.Errorf("%s: no heading #%s", alert[1], alert[3])
		}
		if n := strings.Count(tested, "alertname: "+alert[1]+"\n"); n < 3 {
			t.Errorf("%s: tested %d times; want before, during and after", alert[1], n)
		}
		if !regexp.MustCompile(`severity: (critical|warning|info)\}`).MatchString(alert[2]) {
			t.Errorf("%s has no severity", alert[1])
		}
	}
}

func TestUsedMetricsExist(t *testing.T) {
	known := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(ctwarden_\\w+)` \\| (\\w+)").FindAllStringSubmatch(read(t, root+"docs/metrics.md"), -1) {
		known[m[1]] = true
		if m[2] == "histogram" {
			known[m[1]+"_bucket"] = true
		}
	}
	for _, path := range []string{rules, tests, week, dashboard, root + "docs/metrics.md", handbook, root + "docs/fleet.md"} {
		// The variables of the Ansible role begin alike.
		known["ctwarden_package"], known["ctwarden_canary"] = true, true
		for _, name := range regexp.MustCompile(`\bctwarden_[a-z_]+\b`).FindAllString(read(t, path), -1) {
			if !known[name] {
				t.Errorf("%s: there is no metric %s", path, name)
			}
		}
	}
}

func TestPromtoolChecksRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("needs promtool (Debian package prometheus)")
	}
	for _, args := range [][]string{
		{"check", "rules", rules}, {"test", "rules", tests, week}, {"check", "config", "--syntax-only", root + "packaging/prometheus/scrape.yml"},
	} {
		if text, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, text)
		}
	}
}

// TestAlertsFireAndResolve: the tests of internal/cli with a real
// Prometheus, which `make long` runs, have each of the rules fire for its reason
// and end with it.
func TestAlertsFireAndResolve(t *testing.T) {
	var seen strings.Builder
	for _, path := range glob(t, "internal/cli/alerts*_test.go") {
		seen.WriteString(read(t, path))
	}
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(read(t, rules), -1)
	if len(alerts) == 0 {
		t.Fatal("no alerts")
	}
	for _, alert := range alerts {
		for _, fires := range []bool{true, false} {
			if want := fmt.Sprintf("server.alert(%q, %v)", alert[1], fires); !strings.Contains(seen.String(), want) {
				t.Errorf("no %s", want)
			}
		}
	}
}
