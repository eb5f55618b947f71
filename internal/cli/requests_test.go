package cli

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/policy"
)

// records returns what the audit log of the child holds of a kind.
func (c *child) records(kind record.Kind) string {
	c.t.Helper()
	text, code := c.run("audit", "show", "--json", "--kind", string(kind))
	if code != 0 {
		c.t.Fatalf("audit show: exit %d\n%s", code, text)
	}
	return text
}

func TestPauseIsRecorded(t *testing.T) {
	c := newChild(t)
	c.start(ownNetwork)
	text, code := c.run("pause", "--for", "1h", "--reason", "new rules")
	if code != 0 || !strings.HasPrefix(text, "paused until ") {
		t.Fatalf("pause: exit %d\n%s", code, text)
	}
	c.holds(policy.HeldPaused)
	if text, _ := c.run("status"); !strings.Contains(text, "paused by an administrator") || !strings.Contains(text, "ctwarden resume") {
		t.Errorf("status does not say who holds it and how to go on:\n%s", text)
	}
	if text := c.records(record.KindPause); !strings.Contains(text, `"reason":"new rules"`) ||
		!strings.Contains(text, `"for_ns":3600000000000`) || !strings.Contains(text, `"uid":0`) || !strings.Contains(text, `"pid":`) {
		t.Errorf("the record of the pause: %s", text)
	}
	for _, ask := range []control.Request{{For: time.Hour}, {Reason: "for ever"}} {
		_, err := control.Do(t.Context(), filepath.Join(c.dir, "run", "control.sock"), "pause", ask)
		var refusal *control.Refusal
		if !errors.As(err, &refusal) || refusal.Code != 409 {
			t.Errorf("a pause of %+v: %v, want 409", ask, err)
		}
	}
	if text, code := c.run("resume", "--reason", "done"); code != 0 || text != "resumed\n" {
		t.Errorf("resume: exit %d\n%s", code, text)
	}
	c.holds(policy.HeldCalm)
	if text := c.records(record.KindResume); !strings.Contains(text, `"reason":"done"`) {
		t.Errorf("the record of the resumption: %s", text)
	}
}

// holds waits until the daemon holds back for this reason.
func (c *child) holds(want policy.Hold) {
	c.t.Helper()
	c.eventuallyStatus("held: "+want.String(), func(r *status.Status) bool { return len(r.Tables) > 0 && r.Tables[0].Held == want })
}

// eventuallyStatus waits until the status is so.
func (c *child) eventuallyStatus(what string, so func(*status.Status) bool) {
	c.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r, _ := c.status()
		if so(&r) {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("never came: %s; status %+v", what, r)
		}
	}
}

// TestRevertOfNothingDoesNotPause: who undoes everything at night is
// not to be left without a guard because nothing was changed.
func TestRevertOfNothingDoesNotPause(t *testing.T) {
	c := newChild(t)
	c.start(ownNetwork)
	text, code := c.run("revert", "--reason", "night shift")
	if code != 0 || !strings.Contains(text, "nothing to revert") || strings.Contains(text, "paused until") ||
		!strings.Contains(text, "ctwarden pause --for 1h") {
		t.Fatalf("revert: exit %d\n%s", code, text)
	}
	c.holds(policy.HeldCalm)
	if text := c.records(record.KindPause); strings.Contains(text, `"kind":"pause"`) {
		t.Errorf("the daemon was paused: %s", text)
	}
	if text := c.records(record.KindRevert); !strings.Contains(text, `"reason":"night shift"`) {
		t.Errorf("the record of the revert: %s", text)
	}
}

func TestReloadReportsMistakes(t *testing.T) {
	c := newChild(t)
	c.start(ownNetwork)
	c.configure("mode: perhaps\n")
	text, code := c.run("reload")
	// The command reads the same file, for the socket: it says so itself.
	if code != 1 || !strings.Contains(text, "mode") {
		t.Errorf("reload of a broken file: exit %d\n%s", code, text)
	}
	c.configure("mode: observe\n")
	if text, code := c.run("reload"); code != 0 || !strings.HasPrefix(text, "configuration loaded") {
		t.Errorf("reload: exit %d\n%s", code, text)
	}
	c.eventuallyStatus("the mode is another", func(r *status.Status) bool { return r.Mode == policy.Observe })
	if text := c.records(record.KindConfig); !strings.Contains(text, `"by":{"uid":0`) {
		t.Errorf("the records of the configuration: %s", text)
	}
}

func TestReloadReportsRestartKeys(t *testing.T) {
	c := newChild(t)
	c.start(ownNetwork)
	for _, changed := range []struct{ config, want string }{
		{"watch: {netns: all}\nnetns: {include: [web*]}\n", "watch.netns takes effect after: systemctl restart ctwarden\n"},
		{"watch: {netns: all}\nmode: observe\n", "watch.netns takes effect after: systemctl restart ctwarden\n"}, // still
		{"mode: observe\n", ""},
		{"netns: {act: true}\n", "netns.act takes effect after: systemctl restart ctwarden\n"},
	} {
		c.configure(changed.config)
		text, code := c.run("reload")
		_, got, _ := strings.Cut(text, "\n")
		if code != 0 || !strings.HasPrefix(text, "configuration loaded") || got != changed.want {
			t.Errorf("reload of %q: exit %d\n%s", changed.config, code, text)
		}
	}
	c.eventually("configuration reloaded; a restart is needed for watch.netns")
	if text := c.records(record.KindConfig); !strings.Contains(text, `"restart":["watch.netns"]`) {
		t.Errorf("the records of the configuration: %s", text)
	}
}

func TestRequestsWithoutDaemonFail(t *testing.T) {
	c := newChild(t)
	for _, args := range [][]string{{"pause", "--reason", "x"}, {"resume"}, {"reload"}} {
		text, code := c.run(args...)
		if code != 1 || !strings.Contains(text, "no daemon listens") || !strings.Contains(text, "hint: systemctl status ctwarden") {
			t.Errorf("%v: exit %d\n%s", args, code, text)
		}
	}
	for _, args := range [][]string{
		{"pause"}, {"pause", "--reason", "x", "--for", "0s"}, {"pause", "--reason", "x", "--for", "8760h"}, {"pause", "--reason", "x", "--for", "60"},
	} {
		if text, code := c.run(args...); code != 2 {
			t.Errorf("%v: exit %d, want 2\n%s", args, code, text)
		}
	}
	if text, code := c.run("revert"); code != 0 || !strings.Contains(text, "nothing to revert") {
		t.Errorf("revert without a daemon: exit %d\n%s", code, text)
	}
}
