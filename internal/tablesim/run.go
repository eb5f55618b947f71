package tablesim

import (
	"fmt"
	"math"
	"time"

	"github.com/ctwarden/ctwarden/policy"
)

// Run plays a scenario under these limits, and twice more for comparison:
// without any policy, and with a cron job that doubles max.
func Run(s *Scenario, l *policy.Limits) *Result {
	r := recorder{result: Result{Scenario: s.Name, About: s.About}}
	r.every = max(time.Second, s.Run/1000).Round(time.Second)
	c := newSchedule(s)
	c.onEvent = func(text string, _ *Event) {
		r.addOnce(text, Line{At: c.host.clock, Kind: EventLine, Text: text})
	}
	simulate(c, l, r.addIteration)
	r.result.Policy = r.sum
	r.result.Policy.end(c.host)
	r.result.WorstStall = c.host.worstStall
	r.result.Nothing = compare(s, 0)
	r.result.Cron = compare(s, time.Minute)
	return &r.result
}

// cronFill is the fullness from which the cron job of the comparison acts.
const cronFill = 8000

// compare plays a scenario without a policy. Where every is not 0, max is
// doubled that often if the table is more than cronFill full.
func compare(s *Scenario, every time.Duration) Sum {
	c := newSchedule(s)
	h := c.host
	var sum Sum
	next := every
	for h.clock < s.Run {
		sum.observe(h)
		if every > 0 && h.clock >= next {
			next += every
			if h.tables[0].entries() > scale(h.max, cronFill, 10000) {
				h.max = min(2*h.max, math.MaxInt32)
			}
		}
		c.advance(time.Second)
	}
	sum.end(h)
	return sum
}

// observe notes how full the host is.
func (s *Sum) observe(h *Host) {
	s.PeakEntries = max(s.PeakEntries, h.tables[0].entries())
	s.PeakBytes = max(s.PeakBytes, h.entries()*h.bytesPerEntry()+8*h.buckets)
}

func (s *Sum) end(h *Host) {
	s.observe(h)
	s.Losses, s.Max, s.Buckets = h.losses, h.max, h.buckets
}

// A recorder makes the timeline and the curve.
type recorder struct {
	result   Result
	sum      Sum
	every    time.Duration
	cause    policy.Cause
	held     policy.Hold
	mentions map[string]mention
}

// A mention is when an event was last reported, and how often it came since.
type mention struct {
	at, pause time.Duration
	times     int
}

// repeatAfter is for how long an event is not reported again, at first; then
// twice as long, and so on. A table at a threshold goes to and fro, and a
// reader needs the course.
const repeatAfter = 10 * time.Minute

func (r *recorder) add(l Line) { r.result.Timeline = append(r.result.Timeline, l) }

// addOnce adds a line unless one with the same key was added not long ago.
func (r *recorder) addOnce(key string, l Line) {
	if r.mentions == nil {
		r.mentions = make(map[string]mention)
	}
	key = string(l.Kind) + " " + key
	before, ok := r.mentions[key]
	if ok && l.At-before.at < before.pause {
		before.times++
		r.mentions[key] = before
		return
	}
	if before.times > 0 {
		l.Text += fmt.Sprintf(" (and %d times before)", before.times)
	}
	r.mentions[key] = mention{at: l.At, pause: max(2*before.pause, repeatAfter)}
	r.add(l)
}

func (r *recorder) addIteration(t *Iteration) bool {
	r.result.Iterations++
	r.sum.observe(t.Host)
	r.addPoint(t)
	a := &t.Plan.Assessment
	if a.Level != t.State.Level {
		level := a.Level
		change := t.State.Level.String() + " -> " + level.String()
		r.addOnce(change, Line{At: t.At, Kind: LevelLine, Level: &level, Text: change + ": " + a.Sentence()})
	}
	if a.Cause != r.cause {
		r.cause = a.Cause
		r.addOnce(a.Cause.String(), Line{At: t.At, Kind: CauseLine, Cause: a.Cause, Text: causeText(a)})
	}
	for i := range t.Plan.Overrides {
		ov := t.Plan.Overrides[i]
		r.add(Line{At: t.At, Kind: OverrideLine, Override: &ov, Text: ov.Sentence()})
	}
	for i := range t.Plan.Verdicts {
		v := t.Plan.Verdicts[i]
		r.add(Line{At: t.At, Kind: VerdictLine, Verdict: &v, Text: v.Sentence()})
	}
	r.addDecision(t)
	return true
}

func (r *recorder) addDecision(t *Iteration) {
	p := t.Plan
	switch {
	case p.Trips:
		r.add(Line{At: t.At, Kind: BreakerLine, Hold: p.Held, Text: fmt.Sprintf(
			"%s, until %s", p.Held.Sentence(), clock(t.At+t.Next.SafetyPauseUntil.Since(p.Assessment.Observation.Now)))})
	case p.Acts():
		r.result.Acts++
		for i := range t.Outcomes {
			out := t.Outcomes[i]
			r.add(Line{At: t.At, Kind: ActionLine, Outcome: &out, Text: outcomeText(&out)})
		}
	case p.Held != r.held && !p.Held.Quiet():
		r.addOnce(p.Held.String(), Line{At: t.At, Kind: HoldLine, Hold: p.Held, Text: p.Held.Sentence()})
	}
	if p.Acts() || !p.Held.Quiet() {
		r.held = p.Held
	}
}

// outcomeText describes what was done, why, and what came of it.
func outcomeText(out *policy.Outcome) string {
	act := &out.Action
	text := act.Sentence() + ", because " + act.Reason.Sentence()
	entries := act.Type == policy.AgeEntries || act.Type == policy.DeleteEntries
	switch {
	case act.Would:
		return "would " + text
	case !out.OK, entries:
		return text + ": " + out.Sentence()
	case out.After != act.To:
		return fmt.Sprintf("%s: now %d", text, out.After)
	}
	return text
}

// causeText names the cause and what the table is made of.
func causeText(a *policy.Assessment) string {
	o := &a.Observation
	text := a.Cause.String()
	c := &o.Census
	if a.Cause == policy.NoCause || c.Seen == 0 || o.CensusAt != o.Now {
		return text
	}
	return fmt.Sprintf("%s: of %d looked at, closing %s, established %s, unreplied %s, assured %s", text, c.Seen,
		policy.Percent(c.Share(c.Closing)), policy.Percent(c.Share(c.Established)),
		policy.Percent(c.Share(c.Unreplied)), policy.Percent(c.Share(c.Assured)))
}

func (r *recorder) addPoint(t *Iteration) {
	a := &t.Plan.Assessment
	at := t.At / r.every * r.every
	table := &a.Observation.Table
	if n := len(r.result.Curve); n > 0 && r.result.Curve[n-1].At == at {
		p := &r.result.Curve[n-1]
		p.Entries, p.Max, p.Level = max(p.Entries, table.Entries), table.Max, max(p.Level, a.Level)
		return
	}
	r.result.Curve = append(r.result.Curve, Point{At: at, Entries: table.Entries, Max: table.Max, Level: a.Level})
}
