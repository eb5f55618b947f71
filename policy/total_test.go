package policy_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// A source makes values from bytes, with a preference for values at the edges.
type source struct{ data []byte }

func (s *source) next() byte {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return b
}

func (s *source) flag() bool { return s.next()&1 == 1 }

func (s *source) number() uint64 {
	edges := [...]uint64{
		0, 1, 2, 50, 1000, 65536, 262144, 1 << 22, math.MaxInt32, math.MaxUint32 - 1, math.MaxUint32,
		math.MaxUint32 + 1, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64 - 1, math.MaxUint64,
	}
	b := s.next()
	if b < 128 {
		return edges[b%16]
	}
	return uint64(s.next()) << (b % 57)
}

func (s *source) moment() policy.BootTime { return policy.BootTime(s.number() % (1 << 62)) }

func (s *source) share() conntrack.Permyriad { return conntrack.Permyriad(s.number() % 20001) }

// limits returns the defaults with some values that config refuses.
func (s *source) limits() policy.Limits {
	l := policy.Defaults()
	switch s.next() % 8 {
	case 0:
		return policy.Limits{}
	case 1:
		l.Mode = policy.Observe
	case 2:
		l.NoHostWide = true
	case 3:
		l.Raise = policy.RaiseLimits{Ceiling: s.number(), MinStep: s.share(), MaxStep: s.share(), Headroom: time.Duration(s.moment()), UsefulStep: s.share()}
	case 4:
		l.Hash = policy.HashLimits{MaxRatio: s.number(), StormRatio: s.number(), MaxStall: time.Duration(s.moment()), StallPerEntry: time.Duration(s.moment()), CalmFill: s.share()}
	case 5:
		l.Breaker = policy.BreakerLimits{Acts: s.next(), Window: time.Duration(s.moment()), Pause: time.Duration(s.moment()), MaxPause: time.Duration(s.moment())}
		l.Verify.MaxFailures = s.next()
	case 6:
		l.Age.EstablishedFloor = time.Duration(s.moment())
		l.Shorten.Floors[conntrack.UDP] = uint32(s.number())
	case 7:
		l.Jitter = policy.JitterLimits{Share: s.share(), Start: time.Duration(s.moment())}
	}
	return l
}

func (s *source) observation(before policy.BootTime) policy.Observation {
	o := policy.Observation{Now: before + policy.BootTime(s.next())*policy.BootTime(10*time.Millisecond)}
	if s.next() < 16 {
		o.Now = s.moment()
	}
	o.Absent = s.next() < 8
	o.Table = conntrack.Table{Entries: s.number(), Max: s.number(), Buckets: s.number()}
	o.Table.Counters = conntrack.Counters{Drop: s.number(), EarlyDrop: s.number(), InsertFailed: s.number(), ChainTooLong: s.number()}
	o.Full, o.Elsewhere = uint32(s.next()/128), uint32(s.next()/200)
	for _, t := range []conntrack.Timeout{conntrack.UDP, conntrack.TCPTimeWait, conntrack.TCPSynSent, conntrack.TCPEstablished} {
		o.Timeouts[t] = uint32(s.number())
	}
	o.Memory = policy.Memory{Total: s.number(), Available: s.number(), EntryBytes: uint32(s.number()), Pressure: s.share() / 20}
	o.Host = policy.Host{Entries: s.number(), Tables: uint32(s.number())}
	c := &o.Census
	for _, n := range []*uint64{&c.Seen, &c.Unreplied, &c.HalfOpen, &c.Closing, &c.Stale, &c.Deletable, &c.Ageable} {
		*n = s.number()
	}
	o.CensusAt = o.Now
	if s.next() < 16 {
		o.CensusAt = s.moment()
	}
	o.Kernel = policy.Kernel{MaxWritable: s.flag(), BucketsWritable: s.flag(), TimeoutsWritable: s.flag(), Entries: s.flag()}
	o.Jitter = s.share()
	return o
}

// outcome returns what a kernel, or a bug in ctwarden, might make of an action.
func (s *source) outcome(act policy.Action) policy.Outcome {
	out := policy.Outcome{Action: act, Before: act.From, After: act.To, OK: true}
	switch s.next() % 8 {
	case 0:
		out.OK, out.Error = false, "no"
	case 1:
		out.OK, out.ChangedExternally, out.Before = false, true, s.number()
	case 2:
		out.After = s.number()
	}
	out.Changed = s.number()
	return out
}

// checkTotal decides about the observations that data encodes, and checks what
// must hold for every input.
func checkTotal(t *testing.T, data []byte) {
	t.Helper()
	in := source{data}
	l := in.limits()
	var s policy.State
	now := in.moment()
	for range 40 {
		if len(in.data) == 0 {
			return
		}
		o := in.observation(now)
		now = o.Now
		before := s
		a := l.Assess(&s, &o)
		p := l.Decide(&s, &a)
		if p.Acts() == (p.Held != policy.NotHeld) {
			t.Errorf("P3: %d actions and held %q", len(p.Actions), p.Held)
		}
		var outcomes []policy.Outcome
		for i := range p.Actions {
			checkAction(t, &l, &s, &p.Actions[i])
			outcomes = append(outcomes, in.outcome(p.Actions[i]))
		}
		if d := l.Interval(&a); d < 0 || l.Sampling.Min > 0 && d < l.Sampling.Min {
			t.Errorf("P9: the next observation is due in %s", d)
		}
		checkDecidedAgain(t, &l, &s, &p)
		if s != before {
			t.Error("P8: the decision changed the state")
		}
		s = s.Next(&l, &p, outcomes)
		var back policy.State
		if roundTrip(t, &s, &back); back != s {
			t.Errorf("P8: the state changes by JSON: %+v\n%+v", s, back)
		}
		if t.Failed() {
			return
		}
	}
}

// checkAction checks the direction of an action, and its absolute bounds.
func checkAction(t *testing.T, l *policy.Limits, s *policy.State, act *policy.Action) {
	t.Helper()
	ok := l.Mode != policy.Off && act.Would == (l.Mode != policy.Enforce || l.NoHostWide && act.Type.HostWide())
	switch act.Type {
	case policy.RaiseMax:
		ok = ok && act.To > act.From && act.To <= l.Raise.Ceiling
	case policy.ResizeHash:
		ok = ok && act.To > act.From
	case policy.ShortenTimeout:
		ok = ok && act.To < act.From && act.To >= uint64(l.Shorten.Floors[act.Knob]) && act.To > 0
	case policy.RestoreTimeout:
		ok = ok && act.To > act.From && act.To <= s.Timeouts[act.Knob].Original
	case policy.AgeEntries, policy.DeleteEntries:
		ok = ok && act.Cap > 0 && act.To <= act.From && (act.Class != policy.Established || act.MinIdle > 0)
	default:
		ok = false
	}
	if !ok {
		t.Errorf("P1: %s (would: %t)", act.Sentence(), act.Would)
	}
}

func FuzzTotal(f *testing.F) {
	for _, data := range randomInputs(16) {
		f.Add(data)
	}
	f.Fuzz(checkTotal)
}

func TestTotal(t *testing.T) {
	t.Parallel()
	for _, data := range randomInputs(share(400, 100)) {
		if checkTotal(t, data); t.Failed() {
			t.Fatalf("data %x", data)
		}
	}
}

// randomInputs returns n inputs from a fixed seed.
func randomInputs(n int) [][]byte {
	random := rand.New(rand.NewPCG(9, 9))
	inputs := make([][]byte, n)
	for i := range inputs {
		inputs[i] = make([]byte, 100+random.IntN(1500))
		for j := range inputs[i] {
			inputs[i][j] = byte(random.Uint32())
		}
	}
	return inputs
}
