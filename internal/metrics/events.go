package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// The results of an act.
const (
	resultOK      = "ok"
	resultFailed  = "failed"
	resultForeign = "foreign"
	resultWould   = "would"
)

// bounds are the upper ends of the buckets, in seconds. They reach from a write
// to /proc/sys to the deletion of a million entries.
func bounds() []float64 {
	return []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3, 10, 30}
}

// An eventCounter counts the records of an audit log.
type eventCounter struct {
	records, actions, entries, verdicts, holds *prometheus.CounterVec
	// decisions are the times from measuring the table to a plan, acts those
	// that the kernel took.
	decisions prometheus.Histogram
	acts      *prometheus.HistogramVec
}

// newEventCounter returns one in which every series is there from the start, also
// those that are still 0: the rate of a series that appears with its first
// event misses that event.
func newEventCounter() *eventCounter {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: prefix, Name: name, Help: help}, labels)
	}
	histogram := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: prefix, Name: name, Help: help, Buckets: bounds()}
	}
	t := &eventCounter{
		records:   counter("audit_records_total", "Records written to the audit log, by kind.", "kind"),
		actions:   counter("actions_total", "Actions by kind and result: ok, failed, foreign (another program had changed the value), would (observe mode).", "action", "result"),
		entries:   counter("entries_changed_total", "Entries that were deleted or aged, by kind of action.", "action"),
		verdicts:  counter("verdicts_total", "Verdicts on earlier actions, by kind of action and result.", "action", "result"),
		holds:     counter("holds_total", "Records of an action that was not done, by reason.", "hold"),
		decisions: prometheus.NewHistogram(histogram("decision_seconds", "Time from the measurement of the table to the record of a plan that acts.")),
		acts:      prometheus.NewHistogramVec(histogram("action_seconds", "Time from the record of the plan to the kernel's result, by kind of action."), []string{"action"}),
	}
	for _, k := range record.Kinds() {
		t.records.WithLabelValues(string(k))
	}
	for a := policy.NoAction + 1; a < policy.NumActionTypes; a++ {
		t.acts.WithLabelValues(a.String())
		for _, result := range [...]string{resultOK, resultFailed, resultForeign, resultWould} {
			t.actions.WithLabelValues(a.String(), result)
		}
		for result := policy.Helped; result <= policy.Inconclusive; result++ {
			t.verdicts.WithLabelValues(a.String(), result.String())
		}
	}
	for _, a := range [...]policy.ActionType{policy.DeleteEntries, policy.AgeEntries} {
		t.entries.WithLabelValues(a.String())
	}
	for h := policy.HeldOff; h <= policy.HeldNoAudit; h++ {
		if !h.Quiet() {
			t.holds.WithLabelValues(h.String())
		}
	}
	return t
}

func (t *eventCounter) collectors() []prometheus.Collector {
	return []prometheus.Collector{t.records, t.actions, t.entries, t.verdicts, t.holds, t.decisions, t.acts}
}

// count counts one record. One whose payload can't be read is counted by its kind
// and no further.
func (t *eventCounter) count(r *audit.Record) {
	t.records.WithLabelValues(string(r.Kind)).Inc()
	payload, err := r.Payload()
	if err != nil {
		return
	}
	switch p := payload.(type) {
	case *record.Plan:
		// How long a decision took, from the wall clocks of the reading and of
		// the record: a reader of the log finds the same. The clock may be set
		// between the two.
		t.decisions.Observe(max(r.Time.Sub(p.Observation.At), 0).Seconds())
	case *record.Outcome:
		t.countOutcome(p)
	case *record.Verdict:
		t.verdicts.WithLabelValues(p.Type.String(), p.Result.String()).Inc()
	case *record.Hold:
		t.holds.WithLabelValues(p.Held.String()).Inc()
	}
}

func (t *eventCounter) countOutcome(o *record.Outcome) {
	action, result := o.Action.Type.String(), resultFailed
	switch {
	case o.Action.Would:
		result = resultWould
	case o.ChangedExternally:
		result = resultForeign
	case o.OK:
		result = resultOK
	}
	t.actions.WithLabelValues(action, result).Inc()
	if o.Action.Would {
		return
	}
	t.acts.WithLabelValues(action).Observe(max(o.Took, 0).Seconds())
	if o.Changed > 0 {
		t.entries.WithLabelValues(action).Add(float64(o.Changed))
	}
}
