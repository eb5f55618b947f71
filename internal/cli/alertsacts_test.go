package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/sandbox/sandboxtest"
)

// futile is a configuration under which the one thing that may be done is of no
// use: timeouts are shortened, which does nothing for the entries that are there
// already, as long as the breaker lets it.
const futile = `
levels:
  elevated: {enter: 3%%, leave: 1%%, forecast_fill: 2%%, calm_after: 1s}
  high: {enter: 5%%, leave: 4%%}
  exhausted: {enter: 8%%, leave: 6%%, near_max: 7%%}
hash: {calm_fill: 1%%}
verify: {settle: 10ms, timeouts: 1s, max_failures: 10}
timeouts: {floors: {tcp_timeout_syn_sent: 10s, tcp_timeout_syn_recv: 10s, udp_timeout: 10s}}
delete: {cap: 0%%}
breaker: {acts: %d}
watch: {journald: "off"}
metrics: {listen: "` + metricsAddress + `", web_config: %s}
`

// TestAlertOnIneffectiveActions has a real daemon do what fails, what does not
// help, and all of it too often, without an ear for the kernel's log: what the
// alerts about ctwarden itself are for.
func TestAlertOnIneffectiveActions(t *testing.T) {
	if os.Getenv("CTWARDEN_TEST_LONG") != "1" {
		t.Skip("waits for alerts, a minute: make long")
	}
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip("needs prometheus (Debian package prometheus)")
	}
	if _, err := os.Stat("/dev/kmsg"); err != nil {
		t.Skipf("needs the kernel's log to lose it: %v", err)
	}
	stage := sandboxtest.New(t)
	c := newChild(t)
	// Until the mount is taken away, the log is a device that holds nothing.
	c.through = []string{"unshare", "--mount", "sh", "-c", `mount --bind /dev/null /dev/kmsg && exec "$@"`, "sh"}
	web := protectMetrics(t, c.dir)
	c.configure(fmt.Sprintf(futile, 2, web))
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := c.run("audit", "show")
			t.Log(text)
		}
	})
	disk := smallDisk(t, filepath.Join(c.dir, "state"))
	c.startIn(stage.NS)
	server := startPrometheus(t, stage.NS, secured(filepath.Join(c.dir, "ca.pem")))
	server.alert("CtwardenNoKernelLog", true)
	pid := strconv.Itoa(c.cmd.Process.Pid)
	if text, err := exec.Command("nsenter", "--mount", "--target", pid, "umount", "/dev/kmsg").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	server.alert("CtwardenNoKernelLog", false)

	// No claim can be kept, and without one the kernel is not touched.
	disk.fill()
	cttest.Fill(t, stage.NS, int(cttest.HostMax(t)/11), cttest.Unreplied())
	server.alert("CtwardenActionsFailing", true)
	server.alert("CtwardenBreakerOpen", true)
	disk.empty()
	c.configure(fmt.Sprintf(futile, 64, web))
	c.mustRun("reload")
	c.mustRun("resume")
	server.alert("CtwardenBreakerOpen", false)
	server.alert("CtwardenNoEffect", true)
	server.alert("CtwardenActionsFailing", false)
	server.alert("CtwardenNoEffect", false)
	if text, code := c.run("audit", "verify"); code != 0 {
		t.Errorf("audit verify: exit %d\n%s", code, text)
	}
}
