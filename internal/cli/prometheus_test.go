package cli

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
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

	"github.com/ctwarden/ctwarden/internal/netns"
)

// What the daemon answers on, and what the server has to know to be answered.
// The hash is one of bcrypt, at its least cost.
const (
	metricsAddress  = "127.0.0.1:9871"
	metricsPassword = "a long password"
	metricsUsers    = "basic_auth_users: {prometheus: $2a$04$cFvPEdGWhLhQdn3XJM20y.zGCgjtZDLn1jO.EfQdJ1UlZRrkWJAUC}\n"
)

// protectMetrics writes a web configuration with TLS and a password into dir,
// and the certificate to trust as ca.pem.
func protectMetrics(t *testing.T, dir string) (path string) {
	t.Helper()
	borrowed := httptest.NewTLSServer(http.NotFoundHandler()) // it has a certificate for 127.0.0.1
	defer borrowed.Close()
	pair := borrowed.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"ca.pem":   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}),
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"web.yaml": []byte("tls_server_config: {cert_file: ca.pem, key_file: key.pem}\n" + metricsUsers),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "web.yaml")
}

// A prometheus is a server of its own that reads one daemon.
type prometheus struct {
	t      *testing.T
	client http.Client
	began  time.Time
}

// promAddress is where the server answers, in a namespace where nothing else
// listens.
const promAddress = "127.0.0.1:9090"

// fastRules are the rules that are shipped. Only their times are others: an
// alert need not wait, and is over some seconds after its reason.
func fastRules(t *testing.T) (rules []byte) {
	t.Helper()
	rules, err := os.ReadFile("../../packaging/prometheus/ctwarden.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []struct{ from, to string }{
		{`(?m)^        for: .*\n`, ""},
		{`\[\d+[mh]\]`, "[15s]"},
		{`offset 30m`, "offset 15s"}, // CtwardenGone
		{`> 180'`, "> 25'"},          // CtwardenStuck; the textfile is written every 12 to 15 s
	} {
		from := regexp.MustCompile(change.from)
		if !from.Match(rules) {
			t.Fatalf("the rules have no %s", change.from)
		}
		rules = from.ReplaceAll(rules, []byte(change.to))
	}
	return rules
}

// secured is how a server finds a daemon that asks for TLS and a password.
func secured(ca string) string {
	return fmt.Sprintf(`{job_name: ctwarden, scheme: https, tls_config: {ca_file: %s},
    basic_auth: {username: prometheus, password: %s}, static_configs: [{targets: ['%s']}]}`, ca, metricsPassword, metricsAddress)
}

// startPrometheus runs a server in a network namespace. Once a second it reads
// what a job, an item of scrape_configs, names there.
func startPrometheus(t *testing.T, ns *netns.NS, job string) *prometheus {
	t.Helper()
	dir := t.TempDir()
	config := "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml]\nscrape_configs:\n  - " + job + "\n"
	for name, text := range map[string][]byte{"rules.yml": fastRules(t), "prometheus.yml": []byte(config)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+promAddress, "--log.level=error")
	startBeside(t, ns, cmd)
	p := &prometheus{t: t, began: time.Now()}
	p.client.Transport = &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = ns.Do(func() (err error) {
				conn, err = new(net.Dialer).DialContext(ctx, network, address)
				return err
			})
			return conn, err
		},
	}
	return p
}

// startBeside starts a program in a network namespace; it ends with the test.
func startBeside(t *testing.T, ns *netns.NS, cmd *exec.Cmd) {
	t.Helper()
	cmd.Stderr = t.Output()
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
	})
}

// series asks for the present value of a query, and returns how many series it
// has. A server that does not answer yet has none.
func (p *prometheus) series(query string) int {
	p.t.Helper()
	answer, err := p.client.Get("http://" + promAddress + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0
	}
	if answer.StatusCode == http.StatusBadRequest {
		p.t.Fatalf("%s: %s", query, text)
	}
	var found struct {
		Data struct {
			Result []any `json:"result"`
		} `json:"data"`
	}
	if answer.StatusCode != http.StatusOK || json.Unmarshal(text, &found) != nil {
		return 0
	}
	return len(found.Data.Result)
}

// until waits until a query has data, or no longer has any.
func (p *prometheus) until(query string, want bool) {
	p.t.Helper()
	for end := time.Now().Add(2 * time.Minute); (p.series(query) > 0) != want; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%s: data is never %v; what fires: %v", query, want, p.series(`ALERTS{alertstate="firing"}`))
		}
	}
}

// alert waits until an alert fires, or no longer does, and says when.
func (p *prometheus) alert(name string, want bool) {
	p.t.Helper()
	p.until(fmt.Sprintf("ALERTS{alertname=%q,alertstate=\"firing\"}", name), want)
	p.t.Logf("%5.1f s  %-24s %s", time.Since(p.began).Seconds(), name, map[bool]string{true: "fires", false: "is over"}[want])
}

// queries returns every query of the dashboard, for every host, and that of the
// marks on it.
func queries(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile("../../packaging/grafana/ctwarden.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Annotations struct {
			List []struct {
				Expr string `json:"expr"`
			} `json:"list"`
		} `json:"annotations"`
		Panels []struct {
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, note := range dashboard.Annotations.List {
		all = append(all, note.Expr)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			all = append(all, target.Expr)
		}
	}
	for i := range all {
		all[i] = strings.ReplaceAll(all[i], "$instance", ".*")
	}
	return all
}
