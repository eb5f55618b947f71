package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMetricsInAFileAndOnTheSocket(t *testing.T) {
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
	if text, code := c.run("metrics"); code != 1 || !strings.Contains(text, "no daemon answers") {
		t.Errorf("without a daemon: exit %d\n%s", code, text)
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

func TestNothingListensOnTheNetworkUnlessItIsToldTo(t *testing.T) {
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
