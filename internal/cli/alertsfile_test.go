package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/sandbox/sandboxtest"
)

// TestAlertsFromTextfile has a real node_exporter hand on what a daemon
// writes: figures that are old, and figures that are gone, are alerts then, as
// nothing is down.
func TestAlertsFromTextfile(t *testing.T) {
	if os.Getenv("CTWARDEN_TEST_LONG") != "1" {
		t.Skip("waits for figures to become old, a minute and a half: make long")
	}
	for _, name := range []string{"prometheus", "prometheus-node-exporter"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s (the Debian package of that name)", name)
		}
	}
	const address = "127.0.0.1:9100"
	stage := sandboxtest.New(t)
	c := newChild(t)
	dir := t.TempDir()
	c.configure("metrics: {textfile: " + filepath.Join(dir, "ctwarden.prom") + "}\n")
	c.startIn(stage.NS)
	startBeside(t, stage.NS, exec.Command("prometheus-node-exporter", "--web.listen-address="+address, "--log.level=warn",
		"--collector.disable-defaults", "--collector.conntrack", "--collector.textfile", "--collector.textfile.directory="+dir))
	server := startPrometheus(t, stage.NS, fmt.Sprintf("{job_name: node, static_configs: [{targets: ['%s']}]}", address))
	server.until("ctwarden_table_entries", true)
	server.until("node_textfile_scrape_error == 0", true)
	for theirs, ours := range map[string]string{
		"node_nf_conntrack_entries_limit": "ctwarden_table_max_entries",
		"node_nf_conntrack_entries":       "ctwarden_table_entries",
	} {
		server.until(fmt.Sprintf(`%s == on (instance) %s{netns="0"}`, theirs, ours), true)
	}
	server.until(`ALERTS{alertstate="firing"}`, false)

	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	server.alert("CtwardenStuck", true)
	if err := c.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	server.alert("CtwardenStuck", false)
	server.until(`ctwarden_build_info offset 15s`, true)
	c.stop()
	server.alert("CtwardenGone", true)
	server.alert("CtwardenGone", false) // by itself: there is nobody to be missed any more
}
