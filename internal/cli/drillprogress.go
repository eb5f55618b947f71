package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/drill"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/watcher"
)

// A drillProgress prints the progress of a drill: one line for each second and each
// record, with the time since the flood began.
type drillProgress struct {
	w    io.Writer
	json bool

	mu    sync.Mutex
	start time.Time
}

// timed prints a line with the time since the flood began.
func (p *drillProgress) timed(format string, args ...any) {
	if p.json {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := "       "
	if !p.start.IsZero() {
		at = fmt.Sprintf("%6.2fs", time.Since(p.start).Seconds())
	}
	fmt.Fprintf(p.w, "%s  %s\n", at, audit.Sanitise(fmt.Sprintf(format, args...)))
}

// plain prints a line without a time.
func (p *drillProgress) plain(format string, args ...any) {
	if !p.json {
		p.mu.Lock()
		defer p.mu.Unlock()
		fmt.Fprintf(p.w, "%s\n", audit.Sanitise(fmt.Sprintf(format, args...)))
	}
}

func (p *drillProgress) begin(plan drill.Plan) {
	p.plain("ctwarden drill: floods a network namespace of its own (netns %d), on Linux %s", plan.NetNS, watcher.KernelRelease())
	p.plain("sends %d new UDP flows/s without reply, %d short TCP connections/s, and %d long-lived ones that must survive",
		plan.Rate, plan.ShortRate, plan.LongConns)
	if plan.HostWide {
		p.plain("nf_conntrack_max of this host is %d; the drill raises and restores it", plan.Max)
	} else {
		p.plain("nf_conntrack_max of this host is %d; the drill writes nothing outside the namespace (see --host-wide)", plan.Max)
	}
	p.mu.Lock()
	p.start = time.Now()
	p.mu.Unlock()
}

// sample prints the fullness of the table.
func (p *drillProgress) sample(s *loop.Status, refused uint64) {
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
	p.timed("%s", text)
}

// record prints a record of the loop.
func (p *drillProgress) record(r audit.Record) {
	if p.json {
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = printRecord(p.w, true, r) // a closed pipe does not end the drill
		return
	}
	switch r.Kind {
	case record.KindSample: // sample prints it
		return
	case record.KindStart, record.KindConfig: // begin prints it
		return
	}
	p.timed("%-8s %s", strings.TrimPrefix(string(r.Kind), "incident."), r.Sentence())
}

// end prints the summary.
func (p *drillProgress) end(s *drill.Summary) {
	p.plain("")
	p.plain("kernel log lines            %d", s.KernelLines)
	p.plain("packets sent                %d", s.Sent)
	p.plain("packets lost                %d", s.Refused)
	raised := fmt.Sprint(s.Raised)
	if s.OnlyPlanned > 0 {
		raised = fmt.Sprintf("%d (%d more planned and not done: --host-wide is not set)", s.Raised, s.OnlyPlanned)
	}
	p.plain("max raised                  %s", raised)
	p.plain("timeouts shortened          %d", s.Shortened)
	p.plain("entries deleted             %d in %d actions", s.Entries, s.Deleted)
	for _, kind := range []policy.ActionType{policy.RaiseMax, policy.DeleteEntries} {
		if result, ok := s.Verdicts[kind]; ok {
			p.plain("verdict on %-16s %s", kind, result)
		}
	}
	p.plain("verdict on %-16s too early to judge: it takes %s", policy.ShortenTimeout, s.TimeoutVerdictAfter)
	p.plain("short TCP connections       %d made", s.ShortConns)
	p.plain("long-lived connections      %d of %d alive, %d round trips, slowest %s", s.Alive, s.LongConns, s.RoundTrips, s.Slowest.Round(time.Millisecond/10))
	if s.Unchanged > 0 {
		p.plain("kernel values               all %d restored", s.Unchanged)
	}
}
