package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/watcher"
)

// A teller tells a drill as it happens: one line for each second and each
// record, with the time since the flood began.
type teller struct {
	w    io.Writer
	json bool

	mu    sync.Mutex
	start time.Time
}

// line prints one line under the present time.
func (t *teller) line(format string, args ...any) {
	if t.json {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at := "       "
	if !t.start.IsZero() {
		at = fmt.Sprintf("%6.2fs", time.Since(t.start).Seconds())
	}
	fmt.Fprintf(t.w, "%s  %s\n", at, audit.Sanitise(fmt.Sprintf(format, args...)))
}

// say prints a line that belongs to no moment of the flood.
func (t *teller) say(format string, args ...any) {
	if !t.json {
		t.mu.Lock()
		defer t.mu.Unlock()
		fmt.Fprintf(t.w, "%s\n", audit.Sanitise(fmt.Sprintf(format, args...)))
	}
}

func (t *teller) begin(e *exercise) {
	t.say("ctwarden drill: a flood in a network namespace of its own (netns %d), on Linux %s", e.stage.NS.Inode(), watcher.KernelRelease())
	t.say("%d new UDP flows/s that nobody answers, %d short TCP connections/s, and %d long-lived ones that must survive",
		e.rate, drillShorts, drillFlows)
	if e.hostWide {
		t.say("nf_conntrack_max of this host is %d; it will be raised and put back", e.before.Host["nf_conntrack_max"])
	} else {
		t.say("nf_conntrack_max of this host is %d; nothing outside the namespace is written (see --host-wide)", e.before.Host["nf_conntrack_max"])
	}
	t.mu.Lock()
	t.start = time.Now()
	t.mu.Unlock()
}

// fill tells how full the table is.
func (t *teller) fill(s *loop.Status, refused uint64) {
	if len(s.Tables) == 0 {
		return
	}
	a := &s.Tables[0].Assessment
	table := &a.Observation.Table
	text := fmt.Sprintf("%s %6s of %d, %s", ui.Bar(a.Fullness.Of(barWidth), barWidth), policy.Percent(a.Fullness), table.Max, a.Level)
	if a.FullIn > 0 && a.FullIn < time.Hour {
		text += fmt.Sprintf(", full in %s", a.FullIn.Round(time.Second/10))
	}
	if refused > 0 {
		text += fmt.Sprintf(", %d packets lost", refused)
	}
	t.line("%s", text)
}

// record tells one record of the loop.
func (t *teller) record(r audit.Record) {
	if t.json {
		t.mu.Lock()
		defer t.mu.Unlock()
		_ = printRecord(t.w, true, r) // the reader went away: the drill goes on to its end
		return
	}
	switch r.Kind {
	case record.KindSample: // the fill is told as it is
		return
	case record.KindStart, record.KindConfig: // begin says it, and they come before
		return
	}
	t.line("%-8s %s", strings.TrimPrefix(string(r.Kind), "incident."), r.Sentence())
}

// end sums up.
func (t *teller) end(e *exercise, differ []string) {
	s := &e.score
	t.say("")
	t.say("lines of the kernel heard   %d", s.heard)
	t.say("packets sent, lost          %d, %d", s.sent, s.refused)
	raised := fmt.Sprint(s.raised)
	if s.told > 0 {
		raised = fmt.Sprintf("%d, and %d told as would", s.raised, s.told)
	}
	t.say("max raised                  %s", raised)
	t.say("timeouts shortened          %d", s.shortened)
	t.say("entries deleted             %d in %d acts", s.entries, s.deleted)
	for _, kind := range []policy.ActionType{policy.RaiseMax, policy.DeleteEntries} {
		if result, ok := s.verdicts[kind]; ok {
			t.say("verdict on %-16s %s", kind, result)
		}
	}
	t.say("verdict on %-16s due after %s: the drill does not wait for it", policy.ShortenTimeout, e.limits().Verify.Timeouts)
	t.say("short TCP connections       %d made", s.shorts)
	t.say("long-lived connections      %d of %d alive, %d round trips, slowest %s", s.alive, s.flows, s.trips, s.slowest.Round(time.Millisecond/10))
	if len(differ) == 0 {
		t.say("kernel values               all %d as before", len(e.before.Host)+len(e.before.Sandbox))
	}
}
