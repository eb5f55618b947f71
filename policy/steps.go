package policy

import (
	"math"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// chooseStep tries the steps against the cause in order and takes the first that may be
// taken.
func (l *Limits) chooseStep(s *State, a *Assessment, p *Plan) {
	if hold := causeHold(a.Cause); hold != NotHeld {
		p.Held = hold
		return
	}
	for i, r := range l.steps(s, a) {
		if r.Type == NoAction {
			break
		}
		actions, hold := l.planStep(s, a, r)
		if len(actions) > 0 {
			p.Actions, p.Held = actions, NotHeld
			return
		}
		r.Held = hold
		p.Steps[i] = r
		if p.Held == NotHeld || p.Held == HeldDone {
			p.Held = hold
		}
		if hold == HeldEnough || hold == HeldFalling {
			// The table needs no action: no later step is tried.
			p.Held = hold
			return
		}
	}
	if p.Held == NotHeld {
		p.Held = HeldDone
	}
}

// steps returns the remedies for the cause, the mildest first. Raising max is
// instant and free until used, so it always comes first while packets are
// being lost.
func (l *Limits) steps(s *State, a *Assessment) Steps {
	raise := Step{Type: RaiseMax}
	switch a.Cause {
	case Churn:
		return Steps{raise, {Type: ShortenTimeout, Class: Closing}, {Type: AgeEntries, Class: Closing}}
	case HalfOpen:
		shorten := Step{Type: ShortenTimeout, Class: Unreplied}
		remove := Step{Type: DeleteEntries, Class: Unreplied}
		if s.Records[RaiseMax].Acts == 0 || l.dropping(a) || a.fullWithin(l.Sampling.Calm) {
			return Steps{raise, shorten, remove}
		}
		// One step was made; a flood would eat the next one as well.
		return Steps{shorten, remove, raise}
	case Stale:
		return Steps{raise, {Type: AgeEntries, Class: Established}}
	case LongChains:
		return Steps{{Type: ResizeHash}}
	}
	list := Steps{raise, {Type: ResizeHash}}
	if o := &a.Observation; a.Cause == Load && o.hasFreshCensus() && o.Census.Share(o.Census.Closing) >= notableShare {
		// Live connections come first, and closing ones have to make way when
		// there is no more room to give.
		list[2] = Step{Type: ShortenTimeout, Class: Closing}
		list[3] = Step{Type: AgeEntries, Class: Closing}
	}
	return list
}

func (l *Limits) planStep(s *State, a *Assessment, r Step) ([]Action, Hold) {
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
		return l.deleteUnreplied(s, a)
	}
	panic("policy: no step of type " + r.Type.String())
}

// needHold returns why the table needs no act; NotHeld if it needs one.
// An act is for a table that is about to fill, not one that was.
func (l *Limits) needHold(a *Assessment) Hold {
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

// typeHold returns why an act of this kind can't be made now, whatever it is.
func (l *Limits) typeHold(s *State, a *Assessment, t ActionType) Hold {
	if hold := l.needHold(a); hold != NotHeld {
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
		// An act without effect a moment ago has none now.
		return HeldAwaiting
	case t != RaiseMax && !l.dropping(a) && s.LastAct != 0 && now.Since(s.LastAct) < l.Verify.Settle:
		return HeldAwaiting
	}
	return NotHeld
}

// raiseReason returns the reason for an act against the cause.
func (l *Limits) raiseReason(a *Assessment) Reason {
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
	if hold := l.typeHold(s, a, RaiseMax); hold != NotHeld {
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
	return []Action{{Type: RaiseMax, From: now, To: want, Reason: l.raiseReason(a)}}, NotHeld
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
	if hold := l.typeHold(s, a, ShortenTimeout); hold != NotHeld {
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
	if hold := l.typeHold(s, a, AgeEntries); hold != NotHeld {
		return nil, hold
	}
	act := l.ageing(class)
	switch {
	case l.Age.Cap == 0, class == Established && act.MinIdle == 0, act.Remaining == 0:
		return nil, HeldNotPermitted
	case !o.Kernel.Entries:
		return nil, HeldReadOnly
	case class == Closing && l.tooFew(o, o.Census.Ageable):
		return nil, HeldNothingEligible
	}
	l.setCap(&act, o, l.Age.Cap)
	return []Action{act}, NotHeld
}

// proofMargin is by how much longer than the idle time a table is watched
// before entries are deleted: a dump has remaining times in whole seconds, so
// that idleness is proven two seconds late.
const proofMargin = 3 * time.Second

// deleteUnreplied plans to delete idle unreplied entries.
func (l *Limits) deleteUnreplied(s *State, a *Assessment) ([]Action, Hold) {
	o := &a.Observation
	if hold := l.typeHold(s, a, DeleteEntries); hold != NotHeld {
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
	case l.tooFew(o, o.Census.Deletable), a.UnassuredShare < l.Verify.Useful:
		return nil, HeldNothingEligible
	}
	act := l.deletion()
	l.setCap(&act, o, l.Delete.Cap)
	return []Action{act}, NotHeld
}

// tooFew reports whether a fresh census found too few of the entries that an
// act is aimed at for it to have an effect.
func (l *Limits) tooFew(o *Observation, eligible uint64) bool {
	return o.hasFreshCensus() && o.Census.Share(eligible) < l.Verify.Useful
}

func (l *Limits) setCap(act *Action, o *Observation, share conntrack.Permyriad) {
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
	deferrable := !storm && a.Cause != LongChains
	interval := l.Hash.MinInterval
	if deferrable {
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
	case deferrable && l.starting(s, o):
		return nil, HeldCalm
	case stall > float64(l.Hash.MaxStall), !storm && a.Fullness > l.Hash.CalmFill:
		return nil, HeldStall
	}
	return []Action{{
		Type: ResizeHash, From: o.Table.Buckets, To: b.Buckets, Reason: reason,
	}}, NotHeld
}
