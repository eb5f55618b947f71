package loop

import (
	"context"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// Run turns until ctx is done. It leaves the kernel as it is then: a restart
// in a flood must not shrink the table.
func (d *Daemon) Run(ctx context.Context) {
	defer close(d.done)
	defer d.looks.Wait() // they use what the caller closes next
	defer d.land()
	counting, stop := context.WithCancel(ctx)
	defer stop()
	_, last := d.edges.Now()
	timer := time.NewTimer(d.turn(ctx, counting))
	defer timer.Stop()
	beats, still := d.beats()
	defer still()
	// soon is as early as the next turn may be.
	soon := func() time.Duration {
		_, now := d.edges.Now()
		return max(0, d.limits.Sampling.Min-now.Since(last))
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.edges.Wake:
			// The first line is answered at once; those of a burst wait in
			// the inbox, for they all say the same.
			timer.Reset(soon())
		case c := <-d.censuses:
			d.counted(c)
		case fn := <-d.asks:
			fn()
			timer.Reset(soon()) // what was asked for shows at once
		case <-beats:
			d.alive()
		case <-timer.C:
			_, last = d.edges.Now()
			timer.Reset(d.turn(ctx, counting))
		}
	}
}

// beats returns a channel that wakes the loop while it waits. The loop itself
// says that it is alive then: a goroutine of its own would say so of a loop
// that hangs, too.
func (d *Daemon) beats() (beats <-chan time.Time, stop func()) {
	if d.edges.Beat <= 0 {
		return nil, func() {}
	}
	ticker := time.NewTicker(d.edges.Beat)
	return ticker.C, ticker.Stop
}

func (d *Daemon) alive() {
	if d.edges.Alive != nil {
		d.edges.Alive()
	}
}

// Leave ends every open incident and records why, as in "is over: the drill
// is". It is for a loop that nobody continues, and comes after Run: a daemon
// that is stopped leaves its incidents open, for the next one goes on with
// them.
func (d *Daemon) Leave(why string) {
	for _, t := range d.tables {
		d.letGo(t, why)
	}
}

// turn observes and decides once for each table, and returns how long to wait
// for the next turn.
func (d *Daemon) turn(ctx, counting context.Context) time.Duration {
	d.alive()
	if len(d.signals) == 0 && d.edges.Drain != nil {
		d.signals = d.edges.Drain()
	}
	observations, err := d.edges.Observe(ctx)
	d.told("observe", err)
	if err != nil {
		return d.limits.Sampling.Calm
	}
	d.match(observations)
	d.attribute(observations)
	wait := d.limits.Sampling.Calm
	for i := range observations {
		t := d.tables[i]
		acted := d.decide(ctx, t, &observations[i])
		wait = min(wait, d.limits.Interval(&t.plan.Assessment))
		d.look(counting, t)
		d.fly(t)
		d.alive() // each table is a step of its own, and one act takes seconds
		if acted {
			// What was read of the other tables is from before the act, and
			// they are not to wait for the leisure of this one.
			d.share(t)
			wait = d.limits.Sampling.Min
			break
		}
	}
	d.publish()
	return wait
}

// decide takes one observation through the whole line. It reports whether a
// host-wide value was changed.
func (d *Daemon) decide(ctx context.Context, t *table, o *policy.Observation) bool {
	t.complete(o)
	assessment := d.limits.Assess(&t.state, o)
	plan := d.limits.Decide(&t.state, &assessment)
	d.recordChanges(t, &plan)
	var outcomes []policy.Outcome
	if plan.Acts() {
		outcomes = d.act(ctx, t, &plan)
	}
	for i := range plan.Overrides {
		if d.edges.Yield != nil {
			d.told("yield", d.edges.Yield(t.netns, plan.Overrides[i]))
		}
	}
	changed := len(plan.Verdicts)+len(plan.Overrides)+len(outcomes) > 0 || plan.Trips ||
		assessment.Level != t.state.Level
	t.state = t.state.Next(&d.limits, &plan, outcomes)
	t.plan = plan
	if changed {
		d.keep()
	}
	return hostWide(&plan, outcomes)
}

// hostWide reports whether one of the values that all tables share was
// changed, by ctwarden or, as it found, by somebody else.
func hostWide(plan *policy.Plan, outcomes []policy.Outcome) bool {
	for i := range outcomes {
		if outcomes[i].Action.Type.HostWide() && !outcomes[i].Action.Would {
			return true
		}
	}
	return slices.ContainsFunc(plan.Overrides, func(ov policy.Override) bool { return ov.Type.HostWide() })
}

// act records the intent, carries the plan out, and records each outcome. No
// audit, no action: a plan that could not be recorded is held, and one whose
// outcome could not be goes no further.
func (d *Daemon) act(ctx context.Context, t *table, p *policy.Plan) []policy.Outcome {
	err := d.edges.Record(&record.Plan{Decision: d.decision(t, p)})
	d.told("record", err)
	if err != nil {
		p.Actions, p.Held = nil, policy.HeldNoAudit
		return nil
	}
	outcomes := make([]policy.Outcome, 0, len(p.Actions))
	for _, action := range p.Actions {
		out := policy.Outcome{Action: action, OK: true, Before: action.From, After: action.From}
		if !action.Would {
			out = d.edges.Apply(ctx, t.incident, action)
		}
		outcomes = append(outcomes, out)
		err := d.edges.Record(&record.Outcome{Incident: t.incident, Outcome: out, Text: out.Sentence()})
		d.told("record", err)
		if err != nil {
			break
		}
	}
	p.Actions = p.Actions[:len(outcomes)]
	return outcomes
}

// told passes trouble on, once for each change.
func (d *Daemon) told(what string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if d.trouble[what] == text {
		return
	}
	if d.trouble[what] = text; err == nil {
		delete(d.trouble, what)
	}
	if d.edges.Trouble != nil {
		d.edges.Trouble(what, err)
	}
}
