package policy_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

// A knob is a kernel value that the checker follows, as actions name it.
type knob struct {
	kind    policy.ActionType
	timeout conntrack.Timeout
}

// knobOf returns what an action writes; ok is false for actions on entries.
func knobOf(act *policy.Action) (k knob, ok bool) {
	switch act.Type {
	case policy.RaiseMax, policy.RestoreMax:
		return knob{kind: policy.RaiseMax}, true
	case policy.ResizeHash:
		return knob{kind: policy.ResizeHash}, true
	case policy.ShortenTimeout, policy.RestoreTimeout:
		return knob{kind: policy.ShortenTimeout, timeout: act.Knob}, true
	}
	return knob{}, false
}

// A claim is what the checker knows of a knob that was written.
type claim struct {
	written, original uint64
	lowered           bool // the last direction
	turns             int  // changes of direction since the value was original
}

// A checker receives each turn of a walk and compares it with the promises. It
// keeps its own record of what was written: it takes nothing from the policy
// that it can read from the model's kernel.
type checker struct {
	t        *testing.T
	limits   *policy.Limits
	scenario *tablesim.Scenario

	turn       int
	acts       []time.Duration
	waiting    map[policy.ActionType]int // the turn of the act that has no verdict yet
	claims     map[knob]claim
	yields     map[knob]time.Duration
	incidentAt time.Duration // when the last incident opened
	calmSince  time.Duration
	resizedAt  time.Duration
	// delayedSince is when the host's place in its fleet began to delay a kind
	// of act.
	delayedSince map[policy.ActionType]time.Duration
	last         policy.Hold
	owned        conntrack.Timeouts
	now          policy.BootTime
}

func (w *checker) visit(t *tablesim.Iteration) bool {
	w.turn++
	if w.turn == 1 {
		w.reset()
	}
	disturbed := false
	for _, e := range t.Events {
		switch e.Type {
		case tablesim.Reboot:
			w.reset()
			disturbed = true
		case tablesim.SetKnob, tablesim.MultiplyKnob, tablesim.SetMemory, tablesim.Unload, tablesim.Reload:
			disturbed = true
		}
	}
	p := t.Plan
	w.checkReasons(p)
	w.releaseChanged(t)
	for i := range p.Actions {
		w.checkBounds(t, &p.Actions[i])
		w.checkHarmless(&p.Actions[i])
	}
	w.checkDeference(t)
	w.checkPace(t)
	w.checkVerdicts(t, disturbed)
	w.checkPure(t)
	w.checkJitter(t)
	w.remember(t)
	return !w.t.Failed()
}

// reset drops every claim: after a boot the kernel has the configured values.
func (w *checker) reset() {
	w.waiting, w.claims, w.yields = map[policy.ActionType]int{}, map[knob]claim{}, map[knob]time.Duration{}
	w.acts, w.resizedAt, w.delayedSince = nil, 0, map[policy.ActionType]time.Duration{}
}

// P3: a plan has actions or a reason for none; never both, never neither.
func (w *checker) checkReasons(p *policy.Plan) {
	if p.Acts() == (p.Held != policy.NotHeld) {
		w.t.Errorf("P3: %d actions and held %q", len(p.Actions), p.Held)
	}
	for i := range p.Actions {
		if p.Actions[i].Reason == policy.NoReason {
			w.t.Errorf("P3: %s has no reason", p.Actions[i].Sentence())
		}
	}
	o := &p.Assessment.Observation
	if p.Held == policy.HeldWouldRefill && conntrack.Share(2*o.Table.Entries, o.Table.Max) < w.limits.Levels.ElevatedForecastFill {
		w.t.Errorf("P5: held for %q with %s", p.Held, p.Assessment.Sentence())
	}
	if p.Trips && p.Held != policy.HeldBreaker {
		w.t.Errorf("P3: the breaker trips, and the plan is held for %q", p.Held)
	}
}

// P1: no action ever leaves its limits.
func (w *checker) checkBounds(t *tablesim.Iteration, act *policy.Action) {
	l, o := w.limits, &t.Plan.Assessment.Observation
	var ok bool
	switch act.Type {
	case policy.RaiseMax:
		ok = act.From == o.Table.Max && act.To > act.From && act.To <= l.Raise.Ceiling &&
			act.To-act.From <= l.Raise.MaxStep.Of(act.From) && w.fitsBudget(o, act.To, o.Table.Buckets)
	case policy.ResizeHash:
		stall := time.Duration(max(o.Host.Entries, o.Table.Entries)) * l.Hash.StallPerEntry
		ok = act.From == o.Table.Buckets && act.To > act.From && stall <= l.Hash.MaxStall && w.fitsBudget(o, 0, act.From+act.To) &&
			(w.resizedAt == 0 || t.At-w.resizedAt >= l.Hash.MinInterval)
	case policy.ShortenTimeout:
		floor := uint64(l.Shorten.Floors[act.Knob])
		ok = act.From == uint64(o.Timeouts[act.Knob]) && act.To < act.From && floor > 0 && act.To >= floor && act.To >= act.From/2
	case policy.RestoreTimeout:
		ok = act.From == uint64(o.Timeouts[act.Knob]) && act.To > act.From && act.To <= 2*act.From &&
			act.To <= w.claims[knob{policy.ShortenTimeout, act.Knob}].original
	case policy.AgeEntries:
		ok = act.Cap <= max(l.Age.Cap.Of(o.Table.Entries), 1) && act.Remaining >= l.Shorten.Floors[conntrack.TCPTimeWait]
	case policy.DeleteEntries:
		ok = act.Cap <= max(l.Delete.Cap.Of(o.Table.Entries), 1) && act.MinIdle >= l.Delete.MinIdle && act.SynSentIdle >= l.Delete.SynSentIdle
	default:
		ok = false
	}
	if !ok {
		w.t.Errorf("P1: %s leaves its limits: %s, hash %d, claim %+v", act.Sentence(),
			t.Plan.Assessment.Sentence(), o.Table.Buckets, w.claims)
	}
}

// fitsBudget computes the budget a second time, from the observation alone: the
// entries of every table at max and the hash take at most 3 % of the memory, and
// at most 20 % of what would be available without the entries.
func (w *checker) fitsBudget(o *policy.Observation, most, buckets uint64) bool {
	each := uint64(o.Memory.EntryBytes) + uint64(w.limits.Budget.ExtensionBytes)
	need := most*each*uint64(max(o.Host.Tables, 1)) + 8*buckets
	return o.Memory.Pressure <= w.limits.Budget.MaxPressure &&
		need <= w.limits.Budget.TotalShare.Of(o.Memory.Total) &&
		need <= w.limits.Budget.AvailableShare.Of(o.Memory.Available+o.Host.Entries*each)
}

// P7: no action selects entries that are ASSURED or established.
func (w *checker) checkHarmless(act *policy.Action) {
	ok := true
	switch act.Type {
	case policy.DeleteEntries:
		ok = act.Class == policy.Unreplied
	case policy.AgeEntries:
		ok = act.Class == policy.Closing
	case policy.ShortenTimeout:
		switch act.Knob {
		case conntrack.TCPSynSent, conntrack.TCPSynRecv, conntrack.TCPFinWait, conntrack.TCPTimeWait, conntrack.UDP:
		default:
			ok = false
		}
	}
	if !ok {
		w.t.Errorf("P7: %s", act.Sentence())
	}
}

// P1: the acts within any hour are limited. Restores do not count.
func (w *checker) checkPace(t *tablesim.Iteration) {
	p := t.Plan
	if !p.Acts() || p.Actions[0].Type.Restores() {
		return
	}
	w.acts = append(w.acts, t.At)
	most := int(w.limits.Breaker.Acts)
	if n := len(w.acts); n > most && t.At-w.acts[n-1-most] < w.limits.Breaker.Window {
		w.t.Errorf("P1: more than %d acts in an hour, since %s", most, w.acts[n-1-most])
	}
}

// P2: each act of a kind gets its verdict before the next one.
func (w *checker) checkVerdicts(t *tablesim.Iteration, disturbed bool) {
	p := t.Plan
	for i := range p.Verdicts {
		v := &p.Verdicts[i]
		if _, ok := w.waiting[v.Type]; !ok {
			w.t.Errorf("P2: a verdict on %s, and no act waits for one", v.Type)
		}
		delete(w.waiting, v.Type)
	}
	seen := map[conntrack.Timeout]bool{}
	for i := range p.Actions {
		act := &p.Actions[i]
		if act.Type != p.Actions[0].Type || seen[act.Knob] {
			w.t.Errorf("P2: %s and %s in one plan", p.Actions[0].Sentence(), act.Sentence())
		}
		seen[act.Knob] = true
	}
	if p.Acts() && !p.Actions[0].Type.Restores() {
		kind := p.Actions[0].Type
		if at, ok := w.waiting[kind]; ok && !p.Actions[0].Would {
			w.t.Errorf("P2: %s again; the one at turn %d has no verdict", kind, at)
		}
		if t.Outcomes[0].OK && !t.Outcomes[0].Action.Would {
			w.waiting[kind] = w.turn
		}
	}
	level := p.Assessment.Level
	switch {
	case t.State.Level == policy.Calm && level != policy.Calm:
		w.incidentAt = t.At
	case t.State.Level != policy.Calm && level == policy.Calm:
		w.calmSince = t.At
		absent := p.Held == policy.HeldNoTable || p.Held == policy.HeldUnlimited
		if t.At-w.incidentAt < w.limits.Levels.CalmAfter && !disturbed && !absent && !w.clockStepped() {
			w.t.Errorf("no flapping: the incident of %s ended after %s", w.incidentAt, t.At-w.incidentAt)
		}
		if absent {
			clear(w.waiting)
		}
	}
}

func (w *checker) clockStepped() bool {
	for _, e := range w.scenario.Events {
		if e.Type == tablesim.StepBoot || e.Type == tablesim.Reboot {
			return true
		}
	}
	return false
}

// releaseChanged drops the claims on values that another program changed.
func (w *checker) releaseChanged(t *tablesim.Iteration) {
	o := &t.Plan.Assessment.Observation
	if o.Absent {
		clear(w.claims) // unloading the module loses its values
	}
	if o.Absent || o.Now < t.State.PausedUntil || o.Table.Max == 0 {
		// The policy compares values again when it decides again.
		for i := range t.Plan.Actions {
			w.t.Errorf("P6: %s while held", t.Plan.Actions[i].Sentence())
		}
		return
	}
	for k, c := range w.claims {
		found := w.read(o, k)
		if found == c.written {
			continue
		}
		delete(w.claims, k)
		if found < c.written || k.kind == policy.ShortenTimeout {
			w.yields[k] = t.At + w.limits.Backoff.Pause
		}
	}
}

// P6: a value that another program changed is not written until the yield ends;
// a value that another program raised is the new base.
func (w *checker) checkDeference(t *tablesim.Iteration) {
	for i := range t.Outcomes {
		out := &t.Outcomes[i]
		k, ok := knobOf(&out.Action)
		if !ok {
			continue
		}
		if until := w.yields[k]; t.At < until {
			w.t.Errorf("P6: %s, though the value is yielded until %s", out.Action.Sentence(), until)
		}
		if out.OK && !out.Action.Would {
			w.recordWrite(k, out)
		}
	}
}

// recordWrite remembers a write, and counts the changes of direction.
func (w *checker) recordWrite(k knob, out *policy.Outcome) {
	c, ok := w.claims[k]
	lowered := out.After < out.Before
	if !ok {
		c = claim{original: out.Before, lowered: lowered}
	}
	if lowered != c.lowered {
		c.turns++
	}
	if c.turns > 2 {
		w.t.Errorf("no flapping: %s is change of direction %d", out.Action.Sentence(), c.turns)
	}
	c.written, c.lowered = out.After, lowered
	w.claims[k] = c
	if c.written == c.original {
		delete(w.claims, k)
	}
}

func (w *checker) read(o *policy.Observation, k knob) uint64 {
	switch k.kind {
	case policy.RaiseMax:
		return o.Table.Max
	case policy.ResizeHash:
		return o.Table.Buckets
	}
	return uint64(o.Timeouts[k.timeout])
}

// P8: the same inputs give the same plan and are not changed, and so do inputs
// that were recorded as JSON.
func (w *checker) checkPure(t *tablesim.Iteration) {
	if !t.Plan.Acts() && w.turn%32 != 0 && len(t.Plan.Verdicts)+len(t.Plan.Overrides) == 0 {
		return
	}
	checkDecidedAgain(w.t, w.limits, t.State, t.Plan)
}

func checkDecidedAgain(t *testing.T, l *policy.Limits, s *policy.State, p *policy.Plan) {
	t.Helper()
	var limits policy.Limits
	var state policy.State
	var o policy.Observation
	roundTrip(t, l, &limits)
	roundTrip(t, s, &state)
	roundTrip(t, &p.Assessment.Observation, &o)
	if limits != *l || state != *s || !reflect.DeepEqual(o, p.Assessment.Observation) {
		t.Errorf("P8: limits, state or observation change by JSON:\n%+v\n%+v\n%+v\n%+v", *s, state, p.Assessment.Observation, o)
	}
	a := limits.Assess(&state, &o)
	plan := limits.Decide(&state, &a)
	if !reflect.DeepEqual(&plan, p) {
		t.Errorf("P8: decided again: %+v, at first %+v", plan, *p)
	}
	if state != *s || !reflect.DeepEqual(o, p.Assessment.Observation) {
		t.Error("P8: the decision changed its inputs")
	}
}

// roundTrip fails on what JSON can't hold, such as NaN.
func roundTrip(t *testing.T, from, to any) {
	t.Helper()
	text, err := json.Marshal(from)
	if err != nil {
		t.Errorf("P9: %v", err)
		return
	}
	if err := json.Unmarshal(text, to); err != nil {
		t.Errorf("P8: %v", err)
	}
}

// checkJitter compares a plan with the plan of the first host of a fleet. A
// later host may delay it, but never a raise, nor anything at level high or
// above, and never for longer than the limits permit.
func (w *checker) checkJitter(t *tablesim.Iteration) {
	first := t.Plan.Assessment.Observation
	first.Jitter = 0
	a := w.limits.Assess(t.State, &first)
	prompt := w.limits.Decide(t.State, &a)
	kind := policy.NoAction
	if prompt.Acts() && !t.Plan.Acts() {
		kind = prompt.Actions[0].Type
	}
	for k := range w.delayedSince {
		if k != kind {
			delete(w.delayedSince, k)
		}
	}
	if kind == policy.NoAction {
		// The reasons to hold may differ: the first action is delayed.
		if !slices.Equal(prompt.Actions, t.Plan.Actions) || t.Plan.Trips && !prompt.Trips {
			w.t.Errorf("jitter: %+v, trips: %t; the first host of a fleet: %+v", t.Plan.Actions, t.Plan.Trips, prompt.Actions)
		}
		return
	}
	if a.Level >= policy.High || kind == policy.RaiseMax {
		w.t.Errorf("jitter: %s is delayed at level %s", kind, a.Level)
	}
	since, ok := w.delayedSince[kind]
	if !ok {
		since = t.At
		w.delayedSince[kind] = since
	}
	if most := w.longestDelay(kind); t.At-since > most {
		w.t.Errorf("jitter: %s is delayed for %s, more than %s", kind, t.At-since, most)
	}
}

// longestDelay bounds the delay of a kind of act: a share of the longest wait
// that can precede it.
func (w *checker) longestDelay(kind policy.ActionType) time.Duration {
	l := w.limits
	longest := max(l.Restore.Calm, l.Breaker.MaxPause, l.Backoff.MaxPause)
	switch kind {
	case policy.RestoreTimeout:
		longest = max(l.Restore.Calm, l.Restore.Step<<6)
	case policy.ResizeHash:
		longest = max(longest, l.Hash.MinInterval)
	}
	return max(longest/10000*time.Duration(l.Jitter.Share), l.Jitter.Start)
}

func (w *checker) remember(t *tablesim.Iteration) {
	for i := range t.Outcomes {
		if t.Outcomes[i].Action.Type == policy.ResizeHash && t.Outcomes[i].OK {
			w.resizedAt = t.At
		}
	}
	a := &t.Plan.Assessment
	if a.Level != policy.Calm {
		w.calmSince = t.At
	}
	w.last, w.owned, w.now = t.Plan.Held, t.Next.Owned(), a.Observation.Now
}

// checkGivenBack checks P5: after enough calm the timeouts have their original
// values, and none is claimed.
func (w *checker) checkGivenBack() {
	calm := w.scenario.Run - w.calmSince
	switch {
	case w.t.Failed() || calm < (w.limits.Restore.Calm+25*w.limits.Restore.Step)*5/4:
		return
	case w.last == policy.HeldWouldRefill, w.last == policy.HeldPaused,
		w.last == policy.HeldNoTable, w.last == policy.HeldUnlimited, w.last == policy.HeldNoMemory:
		return
	}
	if w.owned != (conntrack.Timeouts{}) {
		w.t.Errorf("P5: after %s of calm, held for %q, these timeouts are not restored: %v", calm, w.last, w.owned)
	}
	for k, c := range w.claims {
		if k.kind == policy.ShortenTimeout {
			w.t.Errorf("P5: %s is %d and was %d", k.timeout, c.written, c.original)
		}
	}
}
