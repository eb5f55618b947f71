package policy

import (
	"math"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// climb goes up the ladder of the cause and takes the first rung that may be
// taken.
func (l *Limits) climb(s *State, a *Assessment, p *Plan) {
	if hold := causeHold(a.Cause); hold != NotHeld {
		p.Held = hold
		return
	}
	for i, r := range l.ladder(s, a) {
		if r.Type == NoAction {
			break
		}
		actions, hold := l.step(s, a, r)
		if len(actions) > 0 {
			p.Actions, p.Held = actions, NotHeld
			return
		}
		r.Held = hold
		p.Ladder[i] = r
		if p.Held == NotHeld || p.Held == HeldDone {
			p.Held = hold
		}
		if hold == HeldEnough || hold == HeldFalling {
			// The table is not pressing: no rung is.
			p.Held = hold
			return
		}
	}
	if p.Held == NotHeld {
		p.Held = HeldDone
	}
}

// ladder returns the remedies for the cause, the mildest first. Raising max is
// instant and free until used, so it always comes first while packets are
// being lost.
func (l *Limits) ladder(s *State, a *Assessment) Ladder {
	raise := Rung{Type: RaiseMax}
	switch a.Cause {
	case Churn:
		return Ladder{raise, {Type: ShortenTimeout, Class: Closing}, {Type: AgeEntries, Class: Closing}}
	case HalfOpen:
		shorten := Rung{Type: ShortenTimeout, Class: Unreplied}
		remove := Rung{Type: DeleteEntries, Class: Unreplied}
		if s.Records[RaiseMax].Acts == 0 || l.dropping(a) || a.fullWithin(l.Sampling.Calm) {
			return Ladder{raise, shorten, remove}
		}
		// One step was made; a flood would eat the next one as well.
		return Ladder{shorten, remove, raise}
	case Stale:
		return Ladder{raise, {Type: AgeEntries, Class: Established}}
	case LongChains:
		return Ladder{{Type: ResizeHash}}
	}
	ladder := Ladder{raise, {Type: ResizeHash}}
	if o := &a.Observation; a.Cause == Load && o.looked() && o.Census.Share(o.Census.Closing) >= someOf {
		// Live connections come first, and closing ones have to make way when
		// there is no more room to give.
		ladder[2] = Rung{Type: ShortenTimeout, Class: Closing}
		ladder[3] = Rung{Type: AgeEntries, Class: Closing}
	}
	return ladder
}

func (l *Limits) step(s *State, a *Assessment, r Rung) ([]Action, Hold) {
	switch r.Type {
	case RaiseMax:
		return l.raise(s, a)
	case ResizeHash:
		return l.resize(s, a)
	case ShortenTimeout:
		return l.shorten(s, a, r.Class)
	case AgeEntries:
		return l.age(s, a, r.Class)
	case DeleteEntries:
		return l.remove(s, a)
	}
	panic("policy: a ladder has a rung of type " + r.Type.String())
}

// pressing says why the table does not call for an act; NotHeld if it does.
// An act answers a table that is about to fill, not one that was.
func (l *Limits) pressing(a *Assessment) Hold {
	switch {
	case l.dropping(a):
		return NotHeld
	case a.Trend.Falling():
		return HeldFalling
	case a.Level == Exhausted, a.fullWithin(l.Levels.HighForecast):
		return NotHeld
	case a.Level == High && a.Fullness >= l.Levels.HighEnter:
		return NotHeld
	case a.Trend.Easing():
		return HeldFalling
	case a.fullWithin(l.Levels.ElevatedForecast):
		return NotHeld
	}
	return HeldEnough
}

// ready says why an act of this kind can't be made now, whatever it is.
func (l *Limits) ready(s *State, a *Assessment, t ActionType) Hold {
	if hold := l.pressing(a); hold != NotHeld {
		return hold
	}
	now := a.Observation.Now
	r := &s.Records[t]
	switch {
	case r.Banned:
		return HeldBanned
	case r.Waiting, now < r.WaitUntil && now.Since(r.At) > 0:
		return HeldAwaiting
	case r.Failures > 0 && now.Since(r.At) < l.Verify.Settle:
		// What did nothing a moment ago does nothing now.
		return HeldAwaiting
	case t != RaiseMax && !l.dropping(a) && s.LastAct != 0 && now.Since(s.LastAct) < l.Verify.Settle:
		return HeldAwaiting
	}
	return NotHeld
}

// why returns the reason for an act against the cause.
func (l *Limits) why(a *Assessment) Reason {
	switch {
	case l.dropping(a):
		return ReasonDropping
	case a.FullIn > 0 && a.fullWithin(l.Levels.ElevatedForecast):
		return ReasonFullSoon
	}
	return ReasonFill
}

// raise plans the least max that lasts Headroom at the present rate, within
// the steps and the budget.
func (l *Limits) raise(s *State, a *Assessment) ([]Action, Hold) {
	o, b := &a.Observation, &a.Budget
	if hold := l.ready(s, a, RaiseMax); hold != NotHeld {
		return nil, hold
	}
	switch {
	case l.Raise.Ceiling == 0:
		return nil, HeldNotPermitted
	case s.Max.yielded(l, a):
		return nil, HeldYielded
	case !o.Kernel.MaxWritable && !l.NoHostWide:
		return nil, HeldReadOnly
	case b.Hold != NotHeld:
		return nil, b.Hold
	case o.Table.Max >= b.Max:
		return nil, HeldBudget // and no sum below overflows
	}
	now := o.Table.Max
	arrivals := max(a.Trend.Rate(), 0) * l.Raise.Headroom.Seconds()
	want := o.Table.Entries + uint64(min(arrivals, math.MaxUint32))
	want = max(want, now+l.Raise.MinStep.Of(now))
	want = min(want, now+l.Raise.MaxStep.Of(now), b.Max)
	if want < now+max(l.Raise.UsefulStep.Of(now), 1) {
		return nil, HeldBudget
	}
	if a.Level < High {
		// A raise is instant: it can wait for a forecast of half of what it
		// is sized for. Made sooner, it would be followed by the next one at
		// once, until the breaker opens with most of the budget unused.
		return nil, HeldEnough
	}
	return []Action{{Type: RaiseMax, From: now, To: want, Reason: l.why(a)}}, NotHeld
}

// The timeouts of each class, in the order of their weight.
var (
	closingTimeouts  = [...]conntrack.Timeout{conntrack.TCPTimeWait, conntrack.TCPFinWait, conntrack.TCPLastAck, conntrack.TCPClose}
	halfOpenTimeouts = [...]conntrack.Timeout{conntrack.TCPSynSent, conntrack.TCPSynRecv, conntrack.UDP}
)

// Shortens reports whether the policy ever shortens the timeout. The others
// hold connections that are alive, or are not worth the risk: ESTABLISHED,
// CLOSE_WAIT, UDP streams, ICMP.
func Shortens(t conntrack.Timeout) bool {
	return slices.Contains(closingTimeouts[:], t) || slices.Contains(halfOpenTimeouts[:], t)
}

// shorten plans half of each timeout of the class, down to its floor.
func (l *Limits) shorten(s *State, a *Assessment, class Class) ([]Action, Hold) {
	o := &a.Observation
	if hold := l.ready(s, a, ShortenTimeout); hold != NotHeld {
		return nil, hold
	}
	if !o.Kernel.TimeoutsWritable {
		return nil, HeldReadOnly
	}
	timeouts, reason := halfOpenTimeouts[:], ReasonHalfOpen
	if class == Closing {
		timeouts, reason = closingTimeouts[:], ReasonChurn
	}
	var actions []Action
	hold := HeldNotPermitted
	for _, t := range timeouts {
		floor, now := l.Shorten.Floors[t], o.Timeouts[t]
		switch {
		case floor == 0 || now == 0:
			continue
		case now <= floor:
			hold = HeldFloor
		case s.Timeouts[t].yielded(l, a):
			hold = HeldYielded
		default:
			actions = append(actions, Action{
				Type: ShortenTimeout, Knob: t,
				From: uint64(now), To: uint64(max(now/2, floor)), Reason: reason,
			})
		}
	}
	if len(actions) > 0 {
		return actions, NotHeld
	}
	return nil, hold
}

// age plans to lower the remaining time of idle entries of the class.
func (l *Limits) age(s *State, a *Assessment, class Class) ([]Action, Hold) {
	o := &a.Observation
	if hold := l.ready(s, a, AgeEntries); hold != NotHeld {
		return nil, hold
	}
	act := l.ageing(class)
	switch {
	case l.Age.Cap == 0, class == Established && act.MinIdle == 0, act.Remaining == 0:
		return nil, HeldNotPermitted
	case !o.Kernel.Entries:
		return nil, HeldReadOnly
	case class == Closing && l.fewOf(o, o.Census.Ageable):
		return nil, HeldNothingEligible
	}
	l.bound(&act, o, l.Age.Cap)
	return []Action{act}, NotHeld
}

// proofMargin is by how much longer than the idle time a table is watched
// before entries are deleted: a dump tells remaining times in whole seconds, so
// that idleness is proven two seconds late.
const proofMargin = 3 * time.Second

// remove plans to delete idle unreplied entries.
func (l *Limits) remove(s *State, a *Assessment) ([]Action, Hold) {
	o := &a.Observation
	if hold := l.ready(s, a, DeleteEntries); hold != NotHeld {
		return nil, hold
	}
	switch {
	case l.Delete.Cap == 0:
		return nil, HeldNotPermitted
	case a.Level < High:
		return nil, HeldEnough
	case !o.Kernel.Entries:
		return nil, HeldReadOnly
	case s.Since == 0, o.Now.Since(s.Since) < max(l.Delete.MinIdle, l.Delete.SynSentIdle)+proofMargin:
		return nil, HeldAwaiting
	case l.fewOf(o, o.Census.Deletable), a.UnassuredShare < l.Verify.Useful:
		return nil, HeldNothingEligible
	}
	act := l.deletion()
	l.bound(&act, o, l.Delete.Cap)
	return []Action{act}, NotHeld
}

// fewOf reports whether a fresh census found too few of the entries that an
// act is aimed at for it to have an effect.
func (l *Limits) fewOf(o *Observation, eligible uint64) bool {
	return o.looked() && o.Census.Share(eligible) < l.Verify.Useful
}

func (l *Limits) bound(act *Action, o *Observation, share conntrack.Permyriad) {
	act.From = o.Table.Entries
	act.Cap = max(share.Of(o.Table.Entries), 1)
	act.To = act.From - min(act.Cap, act.From)
}

// resize plans the hash that the budget needs. It stalls tracked packets while
// every entry is moved, so that it belongs into calm.
func (l *Limits) resize(s *State, a *Assessment) ([]Action, Hold) {
	o, b := &a.Observation, &a.Budget
	storm := a.Level != Calm
	reason := ReasonBudgetNeedsBuckets
	needed := b.Buckets > o.Table.Buckets
	switch {
	case a.Cause == LongChains:
		reason = ReasonLongChains
	case storm:
		needed = needed && o.Table.Max >= saturatingMul(l.Hash.StormRatio, o.Table.Buckets)
	}
	patient := !storm && a.Cause != LongChains
	interval := l.Hash.MinInterval
	if patient {
		interval += l.jitter(a, interval)
	}
	entries := max(o.Host.Entries, o.Table.Entries)
	stall := float64(entries) * float64(l.Hash.StallPerEntry)
	switch {
	case l.Hash.MaxRatio == 0:
		return nil, HeldNotPermitted
	case b.Hold != NotHeld:
		return nil, b.Hold
	case !needed:
		return nil, HeldDone
	case s.Buckets.yielded(l, a):
		return nil, HeldYielded
	case !o.Kernel.BucketsWritable && !l.NoHostWide:
		return nil, HeldReadOnly
	case s.LastResize != 0 && o.Now.Since(s.LastResize) < interval:
		return nil, HeldTooSoon
	case patient && l.starting(s, o):
		return nil, HeldCalm
	case stall > float64(l.Hash.MaxStall), !storm && a.Fullness > l.Hash.CalmFill:
		return nil, HeldStall
	}
	return []Action{{
		Type: ResizeHash, From: o.Table.Buckets, To: b.Buckets, Reason: reason,
	}}, NotHeld
}
