package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/sandbox"
	"github.com/ctwarden/ctwarden/internal/sandbox/sandboxtest"
)

// startIn runs the daemon in a namespace.
func (c *child) startIn(ns *netns.NS) {
	c.t.Helper()
	if err := ns.Do(func() error { c.start(nil); return nil }); err != nil {
		c.t.Fatal(err)
	}
}

// stop ends the daemon as systemd does.
func (c *child) stop() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	if err := <-c.done; err != nil {
		c.t.Fatalf("the daemon ended: %v\n%s", err, c.output())
	}
}

// hurried is a configuration under which a large table that is a tenth full
// plays a small one that is full: nothing of the host is written.
const hurried = `
levels:
  elevated: {enter: 3%%, leave: 1%%, forecast_fill: 2%%, calm_after: 1s}
  high: {enter: 5%%, leave: 4%%}
  exhausted: {enter: 8%%, leave: 6%%, near_max: 7%%}
hash: {calm_fill: 1%%}
verify: {settle: 10ms, delete: 10ms, timeouts: 1s, raise: 10ms}
delete: {min_idle: 1s, syn_sent_idle: 1s}
restore_after: {calm: 1h}
raise: {ceiling: %d}
metrics: {listen: "` + metricsAddress + `", web_config: %s}
`

// TestAlertsOfIncident floods a table for real, before a daemon of its
// own, and looks at it through the eyes of a real Prometheus, which logs in
// over TLS: alerts fire and clear, and every query of the dashboard has data.
func TestAlertsOfIncident(t *testing.T) {
	if os.Getenv("CTWARDEN_TEST_LONG") != "1" {
		t.Skip("waits for entries to expire and for alerts, a minute: make long")
	}
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip("needs prometheus (Debian package prometheus)")
	}
	stage := sandboxtest.New(t)
	c := newChild(t)
	most := cttest.HostMax(t)
	c.configure(fmt.Sprintf(hurried, most/10, protectMetrics(t, c.dir)))
	disk := smallDisk(t, filepath.Join(c.dir, "log"))
	c.startIn(stage.NS)
	server := startPrometheus(t, stage.NS, secured(filepath.Join(c.dir, "ca.pem")))
	server.until("ctwarden_table_entries", true)
	server.until(`ALERTS{alertstate="firing"}`, false)

	flood, err := sandbox.NewFlood(stage.NS)
	if err != nil {
		t.Fatal(err)
	}
	defer flood.Close()
	// Paused first, so that it is certain that the table fills and hands are
	// tied; then the daemon works.
	c.mustRun("pause", "--for", "1h", "--reason", "the alerts are under test")
	server.alert("CtwardenPaused", true)
	if err := flood.Run(t.Context(), most/50, most/9); err != nil {
		t.Fatal(err)
	}
	server.alert("CtwardenTableExhausted", true)
	server.alert("CtwardenBlocked", true)
	server.alert("CtwardenBudgetNearlyUsed", true)
	c.mustRun("resume")
	server.alert("CtwardenPaused", false)
	server.alert("CtwardenBlocked", false)
	server.until(`ctwarden_actions_total{result="ok"} > 0`, true)
	server.until(`ctwarden_verdicts_total > 0`, true)
	for _, query := range queries(t) {
		server.until(query, true)
	}
	t.Logf("%5.1f s  each of the %d queries of the dashboard has data", time.Since(server.began).Seconds(), len(queries(t)))
	server.alert("CtwardenTableExhausted", false)
	server.alert("CtwardenBudgetNearlyUsed", false)

	// What was shortened stays so, until a person wants it back: see below.
	server.alert("CtwardenMakePermanent", true)

	// Somebody else writes what ctwarden wrote.
	takeOver(t, c, stage.NS)
	server.alert("CtwardenOverridden", true)
	server.alert("CtwardenOverridden", false)

	disk.fill()
	refused(t, c)
	server.alert("CtwardenAuditBroken", true)
	disk.empty()
	c.mustRun("pause", "--for", "1h", "--reason", "there is room again")
	server.alert("CtwardenAuditBroken", false)

	c.stop()
	server.alert("CtwardenDown", true)
	c.startIn(stage.NS)
	server.alert("CtwardenDown", false)
	c.mustRun("revert", "--reason", "the drill is over")
	server.alert("CtwardenMakePermanent", false)
	if text, code := c.run("audit", "verify"); code != 0 {
		t.Errorf("audit verify: exit %d\n%s", code, text)
	}
}

// mustRun runs a command of ctwarden that has to succeed.
func (c *child) mustRun(args ...string) {
	c.t.Helper()
	if text, code := c.run(args...); code != exitOK {
		c.t.Fatalf("%v: exit %d\n%s", args, code, text)
	}
}

// refused asks for a pause until it is refused for want of a record. The last
// page of the file may have room for some.
func refused(t *testing.T, c *child) {
	t.Helper()
	for range 64 {
		text, code := c.run("pause", "--for", "1h", "--reason", "nobody will know")
		if code != exitOK {
			if code != exitError || !strings.Contains(text, "no space left") {
				t.Errorf("a pause that can't be audited: exit %d\n%s", code, text)
			}
			return
		}
	}
	t.Error("pauses are granted that can't be audited")
}

// takeOver writes another value than the daemon did to one of the timeouts that
// it shortened.
func takeOver(t *testing.T, c *child, ns *netns.NS) {
	t.Helper()
	r, _ := c.status()
	if len(r.Changed) == 0 {
		t.Fatalf("no timeout was shortened: %s", c.records(record.KindOutcome))
	}
	e := r.Changed[0]
	err := ns.Do(func() error {
		return os.WriteFile("/proc/sys/net/netfilter/"+e.Sysctl, strconv.AppendUint(nil, e.ReadBack+1, 10), 0)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A disk is a small file system of its own.
type disk struct {
	t       *testing.T
	ballast string
}

func smallDisk(t *testing.T, dir string) disk {
	t.Helper()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("ctwarden-test", dir, "tmpfs", 0, "size=8m,mode=750"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return disk{t, filepath.Join(dir, "ballast")}
}

// fill leaves no room.
func (d disk) fill() {
	d.t.Helper()
	err := os.WriteFile(d.ballast, make([]byte, 8<<20), 0o600)
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatalf("the disk is not full: %v", err)
	}
}

func (d disk) empty() {
	d.t.Helper()
	if err := os.Remove(d.ballast); err != nil {
		d.t.Fatal(err)
	}
}

// TestAlertsOfLostPackets fills a small table with live connections,
// which may not be touched, before a daemon that may not raise max: packets are
// lost, until an administrator makes room.
func TestAlertsOfLostPackets(t *testing.T) {
	cttest.NeedHost(t)
	if os.Getenv("CTWARDEN_TEST_LONG") != "1" {
		t.Skip("waits for alerts, half a minute: make long")
	}
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip("needs prometheus (Debian package prometheus)")
	}
	const lowMax = 32_768
	cttest.LowerMax(t, lowMax)
	stage := sandboxtest.New(t)
	c := newChild(t)
	c.configure(fmt.Sprintf("metrics: {listen: %q, web_config: %s}\n", metricsAddress, protectMetrics(t, c.dir)))
	flows := sandboxtest.NewExchanges(t, stage.NS)
	c.startIn(stage.NS)
	// The full table would refuse connections to Prometheus, and its own: they
	// come first, and stay.
	server := startPrometheus(t, stage.NS, secured(filepath.Join(c.dir, "ca.pem")))
	server.until("ctwarden_table_entries", true)
	server.until(`ALERTS{alertstate="firing"}`, false)
	const live = lowMax * 2 / 3
	cttest.Fill(t, stage.NS, live, cttest.Assured())
	second := func(age time.Duration) uint64 { return uint64(age.Seconds() * 1000) }
	ended := make(chan error, 1)
	go func() { ended <- flows.Run(t.Context(), lowMax-live+6000, second) }()
	server.alert("CtwardenFullSoon", true) // seconds before it is
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	t.Logf("%5.1f s  %d of %d flows were refused by the kernel", time.Since(server.began).Seconds(), flows.Refused, flows.Sent)
	server.alert("CtwardenPacketsDropped", true)
	server.alert("CtwardenTableExhausted", true)
	server.alert("CtwardenBlocked", true)
	room := strconv.AppendUint(nil, 8*lowMax, 10)
	if err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_max", room, 0); err != nil {
		t.Fatal(err)
	}
	server.alert("CtwardenFullSoon", false)
	server.alert("CtwardenPacketsDropped", false)
	server.alert("CtwardenTableExhausted", false)
	server.alert("CtwardenBlocked", false)
}
