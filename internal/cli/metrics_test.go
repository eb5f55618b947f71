package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/sandbox/sandboxtest"
	"github.com/ctwarden/ctwarden/internal/status"
)

func TestMetricsInTextfileAndOnSocket(t *testing.T) {
	c := newChild(t)
	file := filepath.Join(c.dir, "ctwarden.prom")
	c.configure("metrics: {textfile: " + file + "}\n")
	c.start(ownNetwork)
	text, code := c.run("metrics")
	for _, line := range []string{
		"ctwarden_mode{mode=\"enforce\"} 1\n", "ctwarden_level{level=\"calm\",netns=\"0\"} 1\n",
		"ctwarden_audit_records_total{kind=\"start\"} 1\n", "ctwarden_source_alive{source=\"kmsg\"} ",
		"ctwarden_audit_healthy 1\n",
	} {
		if code != 0 || !strings.Contains(text, line) {
			t.Errorf("exit %d, no %q in\n%s", code, line, text)
		}
	}
	var written []byte
	for end := time.Now().Add(10 * time.Second); len(written) == 0; time.Sleep(10 * time.Millisecond) {
		var err error
		if written, err = os.ReadFile(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatal("no file was written")
		}
	}
	// The first file may be from before the first turn: it has no table yet.
	if !strings.Contains(string(written), "ctwarden_build_info{") || !strings.HasSuffix(string(written), "\n") {
		t.Errorf("the file holds\n%s", written)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("the collector can't read the file: %v, %v", info, err)
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-c.done; err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(file + "*")
	if err != nil || len(left) > 0 {
		t.Errorf("old figures are left: %v, %v", left, err)
	}
	if text, code := c.run("metrics"); code != 1 || !strings.Contains(text, "no daemon listens") {
		t.Errorf("without a daemon: exit %d\n%s", code, text)
	}
}

// figures returns the page of metrics, by series.
func (c *child) figures() map[string]float64 {
	c.t.Helper()
	text, code := c.run("metrics")
	if code != exitOK {
		c.t.Fatalf("metrics: exit %d\n%s", code, text)
	}
	page := map[string]float64{}
	for line := range strings.Lines(text) {
		cut := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || cut < 0 {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(line[cut:]), 64)
		if err != nil {
			c.t.Fatalf("%s: %v", line, err)
		}
		page[line[:cut]] = value
	}
	return page
}

// TestMetricsMatchKernelAndStatus fills a table and compares what is
// told of it with what the kernel tells, and with status --json.
func TestMetricsMatchKernelAndStatus(t *testing.T) {
	stage := sandboxtest.New(t)
	c := newChild(t)
	c.startIn(stage.NS)
	const filled = 1000
	cttest.Fill(t, stage.NS, filled, cttest.Assured())
	var page map[string]float64
	var r status.Status
	c.eventuallyStatus("the table is seen", func(now *status.Status) bool {
		page, r = c.figures(), *now
		// The filling itself may count as growth, and a turn may come between the two.
		return r.Tables[0].Assessment.Observation.Table.Entries == filled && page[`ctwarden_table_entries{netns="0"}`] == filled &&
			page[`ctwarden_held{hold="calm",netns="0"}`] == 1 && page[`ctwarden_audit_sequence`] == float64(r.Audit.Seq)
	})
	for series, sysctl := range map[string]string{
		"ctwarden_table_entries": "nf_conntrack_count", "ctwarden_table_max_entries": "nf_conntrack_max", "ctwarden_table_buckets": "nf_conntrack_buckets",
	} {
		var text []byte
		err := stage.NS.Do(func() (err error) {
			text, err = os.ReadFile("/proc/sys/net/netfilter/" + sysctl)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%.0f\n", page[series+`{netns="0"}`]); got != string(text) {
			t.Errorf("%s is %s, and %s is %s", series, got, sysctl, text)
		}
	}
	a := r.Tables[0].Assessment
	for series, want := range map[string]float64{
		`ctwarden_table_fullness_ratio{netns="0"}`: float64(a.Fullness) / 10000,
		`ctwarden_level{level="calm",netns="0"}`:   1,
		`ctwarden_held{hold="calm",netns="0"}`:     1,
		`ctwarden_entry_bytes`:                     float64(a.Budget.PerEntry),
		`ctwarden_writable{what="max"}`:            0, // it is the host's
		`ctwarden_writable{what="timeouts"}`:       1,
		`ctwarden_incident_open{netns="0"}`:        0,
		`ctwarden_changed_values`:                  0,
		`ctwarden_tables`:                          1,
		`ctwarden_audit_sequence`:                  float64(r.Audit.Seq),
		`ctwarden_start_time_seconds`:              float64(r.Since.UnixNano()) / 1e9,
	} {
		if got, told := page[series]; !told || got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
}

// TestReloadKeepsCounters: a server would take a smaller counter for a
// restart.
func TestReloadKeepsCounters(t *testing.T) {
	c := newChild(t)
	c.start(ownNetwork)
	c.mustRun("pause", "--for", "1h", "--reason", "counted")
	before := c.figures()
	c.configure("mode: observe\n")
	c.mustRun("reload")
	after := c.figures()
	for series, n := range before {
		name, _, _ := strings.Cut(series, "{")
		if strings.HasSuffix(name, "_total") && after[series] < n {
			t.Errorf("%s went from %v to %v", series, n, after[series])
		}
	}
	for kind, more := range map[string]float64{"start": 0, "pause": 0, "config": 1} {
		series := fmt.Sprintf("ctwarden_audit_records_total{kind=%q}", kind)
		if before[series] < 1 || after[series] != before[series]+more {
			t.Errorf("%s went from %v to %v", series, before[series], after[series])
		}
	}
	if after["ctwarden_start_time_seconds"] != before["ctwarden_start_time_seconds"] {
		t.Error("a reload is told as a start")
	}
}

// listeners returns the TCP sockets that listen in the network namespace of
// the child.
func (c *child) listeners() (all []string) {
	c.t.Helper()
	for _, name := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", c.cmd.Process.Pid, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			c.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			const listens = "0A" // TCP_LISTEN
			if fields := strings.Fields(line); len(fields) > 3 && fields[3] == listens {
				all = append(all, fields[1])
			}
		}
	}
	return all
}

func TestNoNetworkListenerByDefault(t *testing.T) {
	const port = ":268F" // 9871
	for name, c := range map[string]struct {
		metrics, says string
		listens       bool
	}{
		"by default":                           {"", "", false},
		"a file with passwords and no address": {"web_config: %s", "", false},
		"an address":                           {"listen: 127.0.0.1:9871", "TLS is disabled", true},
		"an address and a file that is not there": {
			"listen: 127.0.0.1:9871, web_config: %s",
			"ctwarden.yaml:1:47: metrics.web_config: expected a file of exporter-toolkit (tls_server_config, basic_auth_users), found %s: no such file",
			false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newChild(t)
			web := filepath.Join(d.dir, "web.yaml")
			fill := func(text string) string { return strings.ReplaceAll(text, "%s", web) }
			d.configure(fill("metrics: {" + c.metrics + "}\n"))
			text, code := d.run("config", "check", filepath.Join(d.dir, "ctwarden.yaml"))
			missing := strings.Contains(c.metrics, "web_config")
			if missing != (code == 1) || missing && !strings.Contains(text, fill("found %s: no such file")) {
				t.Errorf("config check: exit %d\n%s", code, text)
			}
			d.start(ownNetwork)
			if c.listens {
				d.eventuallySays("address=127.0.0.1:9871")
			}
			d.eventuallySays(fill(c.says))
			got := d.listeners()
			if c.listens != (len(got) == 1 && strings.HasSuffix(got[0], port)) || !c.listens && len(got) > 0 {
				t.Errorf("it listens on %v\n%s", got, d.output())
			}
		})
	}
}

// eventuallySays waits until the daemon has said text.
func (c *child) eventuallySays(text string) {
	c.t.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(c.output(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("the daemon never said %q; it said:\n%s", text, c.output())
		}
	}
}
