package loop

import (
	"context"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// Run runs turns until ctx is done. It then leaves the kernel's values as they
// are: a restart in a flood must not shrink the table.
func (l *Loop) Run(ctx context.Context) {
	defer close(l.done)
	defer l.counting.Wait() // a census uses files that the caller closes next
	defer l.flushAll()
	counting, stop := context.WithCancel(ctx)
	defer stop()
	_, last := l.deps.Now()
	timer := time.NewTimer(l.turn(ctx, counting))
	defer timer.Stop()
	beats, still := l.heartbeats()
	defer still()
	// soon is as early as the next turn may be.
	soon := func() time.Duration {
		_, now := l.deps.Now()
		return max(0, l.limits.Sampling.Min-now.Since(last))
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.deps.Wake:
			// The first line starts a turn at once; the other lines of a
			// burst wait in the inbox, where equal ones are counted together.
			timer.Reset(soon())
		case c := <-l.finished:
			l.finishCensus(c)
		case fn := <-l.requests:
			fn()
			timer.Reset(soon()) // the status shows the request at once
		case <-beats:
			l.heartbeat()
		case <-timer.C:
			_, last = l.deps.Now()
			timer.Reset(l.turn(ctx, counting))
		}
	}
}

// heartbeats returns a channel that wakes the waiting loop, which then sends a
// heartbeat itself: another goroutine would send one for a loop that hangs, too.
func (l *Loop) heartbeats() (beats <-chan time.Time, stop func()) {
	if l.deps.HeartbeatEvery <= 0 {
		return nil, func() {}
	}
	ticker := time.NewTicker(l.deps.HeartbeatEvery)
	return ticker.C, ticker.Stop
}

func (l *Loop) heartbeat() {
	if l.deps.Heartbeat != nil {
		l.deps.Heartbeat()
	}
}

// CloseIncidents closes every open incident and records why, as in "drill
// finished". It is called after Run, and only where no other loop continues: a
// stopped daemon leaves its incidents open for its next start.
func (l *Loop) CloseIncidents(why string) {
	for _, t := range l.tables {
		l.closeIncident(t, why)
	}
}

// turn observes and decides once for each table, and returns how long to wait
// for the next turn.
func (l *Loop) turn(ctx, counting context.Context) time.Duration {
	l.heartbeat()
	if len(l.signals) == 0 && l.deps.Drain != nil {
		l.signals = l.deps.Drain()
	}
	observations, err := l.deps.Observe(ctx)
	l.reportOnce("observe", err)
	if err != nil {
		return l.limits.Sampling.Calm
	}
	l.matchTables(observations)
	l.attribute(observations)
	wait := l.limits.Sampling.Calm
	for i := range observations {
		t := l.tables[i]
		acted := l.decide(ctx, t, &observations[i])
		wait = min(wait, l.limits.Interval(&t.plan.Assessment))
		l.startCensus(counting, t)
		l.sample(t)
		l.heartbeat() // each table is a step of its own: one act takes seconds
		if acted {
			// The observations of the other tables are from before the act:
			// the next turn reads them again, and soon.
			l.shareHostWide(t)
			wait = l.limits.Sampling.Min
			break
		}
	}
	l.publish()
	return wait
}

// decide assesses one observation, decides, acts and updates the state. It
// reports whether a host-wide value was changed.
func (l *Loop) decide(ctx context.Context, t *table, o *policy.Observation) bool {
	t.addSignals(o)
	assessment := l.limits.Assess(&t.state, o)
	plan := l.limits.Decide(&t.state, &assessment)
	l.recordChanges(t, &plan)
	var outcomes []policy.Outcome
	if plan.Acts() {
		outcomes = l.act(ctx, t, &plan)
	}
	for i := range plan.Overrides {
		if l.deps.Yield != nil {
			l.reportOnce("yield", l.deps.Yield(t.netns, plan.Overrides[i]))
		}
	}
	changed := len(plan.Verdicts)+len(plan.Overrides)+len(outcomes) > 0 || plan.Trips ||
		assessment.Level != t.state.Level
	t.state = t.state.Next(&l.limits, &plan, outcomes)
	t.plan = plan
	if changed {
		l.save()
	}
	return changedHostWide(&plan, outcomes)
}

// changedHostWide reports whether ctwarden or, as it found, another program
// changed one of the values that all tables share.
func changedHostWide(plan *policy.Plan, outcomes []policy.Outcome) bool {
	for i := range outcomes {
		if outcomes[i].Action.Type.HostWide() && !outcomes[i].Action.Would {
			return true
		}
	}
	return slices.ContainsFunc(plan.Overrides, func(ov policy.Override) bool { return ov.Type.HostWide() })
}

// act records the intent, carries the plan out, and records each outcome. No
// audit, no action: a plan that can't be recorded is held, and a plan stops after
// the first outcome that can't be recorded.
func (l *Loop) act(ctx context.Context, t *table, p *policy.Plan) []policy.Outcome {
	err := l.deps.Record(&record.Plan{Decision: l.decision(t, p)})
	l.reportOnce("record", err)
	if err != nil {
		p.Actions, p.Held = nil, policy.HeldNoAudit
		return nil
	}
	outcomes := make([]policy.Outcome, 0, len(p.Actions))
	for _, action := range p.Actions {
		out := policy.Outcome{Action: action, OK: true, Before: action.From, After: action.From}
		if !action.Would {
			out = l.deps.Apply(ctx, t.incident, action)
		}
		outcomes = append(outcomes, out)
		err := l.deps.Record(&record.Outcome{Incident: t.incident, Outcome: out})
		l.reportOnce("record", err)
		if err != nil {
			break
		}
	}
	p.Actions = p.Actions[:len(outcomes)]
	return outcomes
}

// reportOnce reports an error of a task, or its end, once for each change.
func (l *Loop) reportOnce(what string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if l.failures[what] == text {
		return
	}
	if l.failures[what] = text; err == nil {
		delete(l.failures, what)
	}
	if l.deps.ReportError != nil {
		l.deps.ReportError(what, err)
	}
}
