package metrics

import (
	"sync"
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/policy"
)

// The results of an act.
const (
	resultOK      = "ok"
	resultFailed  = "failed"
	resultForeign = "foreign"
	resultWould   = "would"
)

func results() []string { return []string{resultOK, resultFailed, resultForeign, resultWould} }

type acted struct {
	action policy.ActionType
	result string
}

type judged struct {
	action policy.ActionType
	result policy.Result
}

// A Tally counts the records of an audit log. The zero Tally has counted
// nothing. Its methods may be called from several goroutines.
type Tally struct {
	mu       sync.Mutex
	records  map[audit.Kind]uint64
	actions  map[acted]uint64
	entries  map[policy.ActionType]uint64
	verdicts map[judged]uint64
	holds    map[policy.Hold]uint64
	// decisions are the times from looking at the table to a plan, acts those
	// that the kernel took.
	decisions histogram
	acts      [policy.NumActionTypes]histogram
	// unread counts records whose payload could not be read: a bug.
	unread uint64
}

// Told counts one record. A record costs its fsync, so that reading it again
// is no burden; samples, nearly all of an incident, are counted only.
func (t *Tally) Told(r audit.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	count(&t.records, r.Kind)
	var err error
	switch r.Kind {
	case audit.KindPlan:
		err = t.plan(r)
	case audit.KindOutcome:
		err = t.outcome(r)
	case audit.KindVerdict:
		var v policy.Verdict
		if err = r.Decode(&v); err == nil {
			count(&t.verdicts, judged{v.Type, v.Result})
		}
	case audit.KindHold:
		var h struct {
			Held policy.Hold `json:"held"`
		}
		if err = r.Decode(&h); err == nil {
			count(&t.holds, h.Held)
		}
	}
	if err != nil {
		t.unread++
	}
}

// plan measures how long a decision took, from the wall clocks of the look and
// of the record: a reader of the log finds the same.
func (t *Tally) plan(r audit.Record) error {
	var p struct {
		Observation struct {
			At time.Time `json:"at"`
		} `json:"observation"`
	}
	err := r.Decode(&p)
	if err == nil {
		t.decisions.add(r.Time.Sub(p.Observation.At))
	}
	return err
}

func (t *Tally) outcome(r audit.Record) error {
	var o policy.Outcome
	if err := r.Decode(&o); err != nil {
		return err
	}
	a := acted{o.Action.Type, resultFailed}
	switch {
	case o.Action.Would:
		a.result = resultWould
	case o.Foreign:
		a.result = resultForeign
	case o.OK:
		a.result = resultOK
	}
	count(&t.actions, a)
	if o.Action.Would || a.action >= policy.NumActionTypes {
		return nil
	}
	if t.entries == nil {
		t.entries = make(map[policy.ActionType]uint64)
	}
	t.entries[a.action] += o.Changed
	t.acts[a.action].add(o.Took)
	return nil
}

func count[K comparable](counts *map[K]uint64, key K) {
	if *counts == nil {
		*counts = make(map[K]uint64)
	}
	(*counts)[key]++
}

// write writes every series from the start, also those that are still 0: the
// rate of a series that appears with its first event misses that event.
func (t *Tally) write(p *page) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.counter("audit_records_total", "Records written to the audit log, by kind.")
	for _, k := range audit.Kinds() {
		p.sample(float64(t.records[k]), "kind", string(k))
	}
	p.counter("actions_total", "Acts by kind and result: ok, failed, foreign (somebody else had changed the value), would (observe mode).")
	for a := policy.NoAction + 1; a < policy.NumActionTypes; a++ {
		for _, result := range results() {
			p.sample(float64(t.actions[acted{a, result}]), "action", a.String(), "result", result)
		}
	}
	p.counter("entries_changed_total", "Entries of the table that were deleted or aged, by kind of act.")
	for _, a := range [...]policy.ActionType{policy.DeleteEntries, policy.AgeEntries} {
		p.sample(float64(t.entries[a]), "action", a.String())
	}
	p.counter("verdicts_total", "Judgements of earlier acts, by kind of act and result.")
	for a := policy.NoAction + 1; a < policy.NumActionTypes; a++ {
		for result := policy.Helped; result <= policy.Inconclusive; result++ {
			p.sample(float64(t.verdicts[judged{a, result}]), "action", a.String(), "result", result.String())
		}
	}
	p.counter("holds_total", "Records that nothing was done although there was a reason to, by what held it back.")
	for h := policy.HeldOff; h <= policy.HeldNoAudit; h++ {
		if !h.Quiet() {
			p.sample(float64(t.holds[h]), "hold", h.String())
		}
	}
	p.family("histogram", "decision_seconds", "Time from looking at the table to the record of a plan that acts.")
	t.decisions.write(p)
	p.family("histogram", "action_seconds", "Time that an act took, by kind.")
	for a := policy.NoAction + 1; a < policy.NumActionTypes; a++ {
		t.acts[a].write(p, "action", a.String())
	}
}
