package cli

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/policy"
)

func TestNagios(t *testing.T) {
	limits := policy.Defaults()
	at := standing(policy.Calm, 0, 0, policy.NotHeld).At
	with := func(r *status.Status, change func(*status.Status)) *status.Status { change(r); return r }
	for name, c := range map[string]struct {
		r    *status.Status
		err  error
		now  time.Time
		want nagiosState
		says string
	}{
		"a calm table is fine":                       {r: standing(policy.Calm, 100, 1000, policy.HeldCalm), want: nagiosOK, says: "CONNTRACK OK - calm, 10"},
		"an elevated one is a warning":               {r: standing(policy.Elevated, 800, 1000, policy.HeldEnough), want: nagiosWarning, says: "elevated"},
		"a high one that ctwarden works on, too":     {r: standing(policy.High, 900, 1000, policy.NotHeld), want: nagiosWarning, says: "high"},
		"a high one with its hands tied is critical": {r: standing(policy.High, 900, 1000, policy.HeldBudget), want: nagiosCritical, says: "held: nf_conntrack_max is as high"},
		"an exhausted one is critical":               {r: standing(policy.Exhausted, 1000, 1000, policy.NotHeld), want: nagiosCritical, says: "exhausted"},
		"a pause is a warning":                       {r: standing(policy.Calm, 1, 1000, policy.HeldPaused), want: nagiosWarning, says: "paused"},
		"a table that empties is not held":           {r: standing(policy.Elevated, 800, 1000, policy.HeldFalling), want: nagiosWarning, says: "elevated"},
		"nor is one that is high and empties":        {r: standing(policy.High, 900, 1000, policy.HeldFalling), want: nagiosWarning, says: "high"},
		"no daemon is a warning":                     {r: with(standing(policy.Calm, 1, 1000, policy.NotHeld), func(r *status.Status) { r.Running = false }), want: nagiosWarning, says: "no daemon runs"},
		"an old look is critical":                    {r: standing(policy.Calm, 1, 1000, policy.HeldCalm), now: at.Add(4 * time.Minute), want: nagiosCritical, says: "has not looked for 4m0s"},
		"without audit nothing is done":              {r: with(standing(policy.Calm, 1, 1000, policy.HeldCalm), func(r *status.Status) { r.Audit = &status.Audit{Error: "disk | full"} }), want: nagiosCritical, says: "audit log: disk / full"},
		"trouble is a warning":                       {r: with(standing(policy.Calm, 1, 1000, policy.HeldCalm), func(r *status.Status) { r.Errors = map[string]string{"census": "x"} }), want: nagiosWarning, says: "trouble: census"},
		"no table is fine":                           {r: with(standing(policy.Calm, 0, 0, policy.HeldNoTable), func(r *status.Status) { r.Tables[0].Assessment.Observation.Absent = true }), want: nagiosOK, says: "not loaded"},
		"nobody has looked yet":                      {r: &status.Status{Running: true}, want: nagiosUnknown, says: "UNKNOWN"},
		"an error is unknown":                        {err: errors.New("permission\ndenied"), want: nagiosUnknown, says: "CONNTRACK UNKNOWN - permission"},
		"another namespace is full": {r: with(standing(policy.Calm, 1, 1000, policy.HeldCalm), func(r *status.Status) {
			other := standing(policy.Exhausted, 1000, 1000, policy.NotHeld).Tables[0]
			other.NetNS = 77
			r.Tables = append(r.Tables, other)
		}), want: nagiosCritical, says: "netns 77 exhausted"},
	} {
		now := c.now
		if now.IsZero() {
			now = at.Add(time.Second)
		}
		var b bytes.Buffer
		err := nagios(&b, c.r, c.err, &limits, now)
		state := nagiosOK
		if err != nil && !errors.As(err, &state) {
			t.Errorf("%s: %v", name, err)
		}
		text := b.String()
		if state != c.want || !strings.Contains(text, c.says) {
			t.Errorf("%s: %v, %s", name, state, text)
		}
		if strings.Count(text, "\n") != 1 || strings.Count(text, "|") > 1 {
			t.Errorf("%s: not one line, or not one bar: %q", name, text)
		}
		var said bytes.Buffer
		if code := printError(&said, err); code != int(c.want) || said.Len() > 0 {
			t.Errorf("%s: exit code %d, and %q said besides", name, code, said.String())
		}
	}
}

func TestPerfdata(t *testing.T) {
	limits := policy.Defaults()
	r := standing(policy.High, 870, 1000, policy.NotHeld)
	r.Tables[0].Assessment.Observation.Table.Counters.Drop = 4
	var b bytes.Buffer
	_ = nagios(&b, r, nil, &limits, r.At)
	const want = " | entries=870;750;950;0;1000 fullness=87.00%;75.00;95.00;0;100 full_drops=4c early_drops=0c insert_failed=0c changed=0\n"
	if !strings.HasSuffix(b.String(), want) {
		t.Errorf("%q does not end in %q", b.String(), want)
	}
}

func TestPerfdataWithoutALimit(t *testing.T) {
	limits := policy.Defaults()
	r := standing(policy.Calm, 870, 0, policy.HeldCalm)
	var b bytes.Buffer
	if err := nagios(&b, r, nil, &limits, r.At); err != nil {
		t.Error(err)
	}
	const want = " | entries=870;;;0 full_drops=0c early_drops=0c insert_failed=0c changed=0\n"
	if !strings.HasSuffix(b.String(), want) {
		t.Errorf("%q does not end in %q", b.String(), want)
	}
}

// TestPerfdataIsAsNagiosReadsIt: 'label'=value[UOM];[warn];[crit];[min];[max].
func TestPerfdataIsAsNagiosReadsIt(t *testing.T) {
	limits := policy.Defaults()
	form := regexp.MustCompile(`^[a-z_]+=[0-9.]+(%|c)?(;[0-9.]*){0,4}$`)
	for _, most := range []uint64{0, 1, 1000, 1 << 31} {
		r := standing(policy.High, 870, most, policy.NotHeld)
		for part := range strings.FieldsSeq(strings.TrimPrefix(perfdata(r, &limits), " | ")) {
			if !form.MatchString(part) {
				t.Errorf("max %d: %s", most, part)
			}
		}
	}
}

// TestNagiosDoesNotWaitForADaemonThatHangs: its caller would not.
func TestNagiosDoesNotWaitForADaemonThatHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for as long as a plugin does: 8 s")
	}
	c := newChild(t)
	if err := os.Mkdir(filepath.Join(c.dir, "run"), 0o750); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(c.dir, "run", "control.sock")) // and nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if text, code := c.run("status", "--nagios"); code != 3 || !strings.HasPrefix(text, "CONNTRACK UNKNOWN - ") || !strings.Contains(text, "deadline exceeded") {
		t.Errorf("exit %d, %s", code, text)
	}
}

func TestNagiosOfADaemon(t *testing.T) {
	c := newChild(t)
	if text, code := c.run("status", "--nagios"); code != 1 || !strings.Contains(text, "no daemon runs") {
		t.Errorf("without a daemon: exit %d, %s", code, text)
	}
	c.start(ownNetwork)
	if text, code := c.run("status", "--nagios"); code != 0 || !strings.HasPrefix(text, "CONNTRACK OK - ") {
		t.Errorf("exit %d, %s", code, text)
	}
	c.configure("mode: perhaps\n")
	if text, code := c.run("status", "--nagios", "--config", c.dir+"/ctwarden.yaml"); code != 3 || !strings.HasPrefix(text, "CONNTRACK UNKNOWN - ") {
		t.Errorf("a broken configuration: exit %d, %s", code, text)
	}
	for _, args := range [][]string{{"--json", "--nagios"}, {"--watch", "--every", "0s"}} {
		if _, code := c.run(append([]string{"status"}, args...)...); code != 2 {
			t.Errorf("%v: exit %d, want 2", args, code)
		}
	}
}
