package policy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// calmObservation is an ordinary host with 10,000 of 100,000 entries.
func calmObservation() Observation {
	return Observation{
		Now:      BootTime(time.Hour),
		Table:    conntrack.Table{Entries: 10_000, Max: 100_000, Buckets: 1 << 20},
		Timeouts: conntrack.Timeouts{conntrack.UDP: 30, conntrack.TCPSynSent: 120, conntrack.TCPSynRecv: 60, conntrack.TCPTimeWait: 120, conntrack.TCPFinWait: 120, conntrack.TCPEstablished: 432000},
		Memory:   Memory{Total: 16 << 30, Available: 8 << 30, EntryBytes: 256},
		Kernel:   Kernel{MaxWritable: true, BucketsWritable: true, TimeoutsWritable: true, Entries: true},
	}
}

// decided is the part of a decision that a test compares.
type decided struct {
	Level Level
	Cause Cause
	Held  Hold
	Acts  []Action
}

func decide(l Limits, s State, o Observation) decided {
	a := l.Assess(&s, &o)
	p := l.Decide(&s, &a)
	return decided{a.Level, a.Cause, p.Held, p.Actions}
}

// rising is a state in which the table has grown by rate a second for a while.
func rising(o Observation, rate float64) State {
	return State{Trend: Trend{
		At: o.Now - BootTime(time.Second), Entries: o.Table.Entries - uint64(rate), Counters: o.Table.Counters,
		Rising: 5, Fast: rate, Slow: rate, Peak: rate, Worst: rate,
	}}
}

func setEntries(o *Observation, entries uint64) { o.Table.Entries = entries }

func TestDecide(t *testing.T) {
	halfOpen := func(o *Observation) {
		o.Census = census.Summary{Seen: 1000, HalfOpen: 900, Unreplied: 900, Deletable: 500}
		o.CensusAt = o.Now
	}
	churn := func(o *Observation) {
		o.Census = census.Summary{Seen: 1000, Closing: 970, TimeWait: 960, Established: 30, Assured: 990, Ageable: 800}
		o.CensusAt = o.Now
	}
	raised := func(s *State) { s.Records[RaiseMax] = Record{At: 1, Acts: 1}; s.LastAct, s.Since = 1, 1 }
	tests := map[string]struct {
		limits func(*Limits)
		host   func(*Observation)
		rate   float64
		state  func(*State)
		want   decided
	}{
		"a table with room is calm": {want: decided{Calm, NoCause, HeldCalm, nil}},
		"the zero limits permit nothing": {
			limits: func(l *Limits) { *l = Limits{} },
			host:   func(o *Observation) { setEntries(o, 99_000) },
			want:   decided{Exhausted, Unknown, HeldOff, nil},
		},
		"while the module is not loaded, the plan is held": {
			host: func(o *Observation) { *o = Observation{Now: o.Now, Absent: true} },
			want: decided{Calm, NoCause, HeldNoTable, nil},
		},
		"a table with max 0 is never full": {
			host: func(o *Observation) { o.Table.Max = 0 },
			want: decided{Calm, NoCause, HeldUnlimited, nil},
		},
		"75 % without growth is elevated, and the headroom is enough": {
			host: func(o *Observation) { setEntries(o, 75_000) },
			want: decided{Elevated, Unknown, HeldEnough, nil},
		},
		"85 % without growth is raised by a half": {
			host: func(o *Observation) { setEntries(o, 85_000) },
			want: decided{High, Unknown, NotHeld, []Action{{Type: RaiseMax, From: 100_000, To: 150_000, Reason: ReasonFill}}},
		},
		"one burst between two observations is no trend": {
			host:  func(o *Observation) { setEntries(o, 60_000) },
			rate:  50_000,
			state: func(s *State) { s.Trend.Rising = 0 },
			want:  decided{Calm, NoCause, HeldCalm, nil},
		},
		"full in 20 s: raised to what 60 s need, at most doubled": {
			host: func(o *Observation) { setEntries(o, 40_000) },
			rate: 3000,
			want: decided{High, Unknown, NotHeld, []Action{{Type: RaiseMax, From: 100_000, To: 200_000, Reason: ReasonFullSoon}}},
		},
		"max is raised to exactly what 60 s need": {
			host: func(o *Observation) { setEntries(o, 80_000) },
			rate: 1500,
			want: decided{High, Unknown, NotHeld, []Action{{Type: RaiseMax, From: 100_000, To: 170_000, Reason: ReasonFullSoon}}},
		},
		"a table that empties is held": {
			host:  func(o *Observation) { setEntries(o, 97_000) },
			state: func(s *State) { s.Trend = Trend{At: BootTime(time.Hour - time.Second), Entries: 99_000, Fast: -500} },
			want:  decided{Exhausted, Unknown, HeldFalling, nil},
		},
		"a table that empties while packets are lost is raised": {
			host: func(o *Observation) { setEntries(o, 97_000); o.Table.Counters.Drop = 50 },
			state: func(s *State) {
				s.Trend = Trend{At: BootTime(time.Hour - time.Second), Entries: 99_000, Fast: -500}
			},
			want: decided{Exhausted, Load, NotHeld, []Action{{Type: RaiseMax, From: 100_000, To: 150_000, Reason: ReasonDropping}}},
		},
		"a kernel line about a table that is nearly full raises max": {
			host: func(o *Observation) { setEntries(o, 92_000); o.Full = 1 },
			want: decided{Exhausted, Unknown, NotHeld, []Action{{Type: RaiseMax, From: 100_000, To: 150_000, Reason: ReasonDropping}}},
		},
		"a kernel line while this table has room is about another namespace": {
			host: func(o *Observation) { o.Full = 1 },
			want: decided{Calm, Elsewhere, HeldElsewhere, nil},
		},
		"a kernel line that names another namespace is held": {
			host: func(o *Observation) { o.Elsewhere = 3 },
			want: decided{Calm, Elsewhere, HeldElsewhere, nil},
		},
		"insert conflicts below max are held": {
			host: func(o *Observation) { o.Table.Counters = conntrack.Counters{Drop: 900, InsertFailed: 900} },
			rate: 1,
			want: decided{Calm, InsertFailed, HeldInsertFailed, nil},
		},
		"drops below max mean lack of memory": {
			host: func(o *Observation) { o.Table.Counters = conntrack.Counters{Drop: 900} },
			rate: 1,
			want: decided{Calm, NoMemory, HeldNoMemory, nil},
		},
		"long chains resize the hash": {
			host: func(o *Observation) {
				o.Table.Buckets = 2048
				o.Table.Counters = conntrack.Counters{Drop: 900, InsertFailed: 900, ChainTooLong: 900}
			},
			rate: 1,
			want: decided{Calm, LongChains, NotHeld, []Action{{Type: ResizeHash, From: 2048, To: 333_824, Reason: ReasonLongChains}}},
		},
		"long chains without budget for a hash are held": {
			host: func(o *Observation) {
				o.Table.Counters = conntrack.Counters{Drop: 900, InsertFailed: 900, ChainTooLong: 900}
			},
			rate: 1,
			want: decided{Calm, LongChains, HeldLongChains, nil},
		},
		"the hash is resized in calm": {
			host: func(o *Observation) { o.Table.Buckets = 16384 },
			want: decided{Calm, NoCause, NotHeld, []Action{{Type: ResizeHash, From: 16384, To: 333_824, Reason: ReasonBudgetNeedsBuckets}}},
		},
		"the hash is not resized while the table has many entries": {
			host: func(o *Observation) { o.Table.Buckets = 16384; o.Table.Max = 4_000_000; setEntries(o, 400_000) },
			want: decided{Calm, NoCause, HeldCalm, nil},
		},
		"max is not raised beyond the budget": {
			host: func(o *Observation) { setEntries(o, 97_000); o.Memory.Total = 1 << 30; o.Memory.Available = 100 << 20 },
			want: decided{Exhausted, Unknown, HeldBudget, nil},
		},
		"max is not raised beyond the ceiling": {
			limits: func(l *Limits) { l.Raise.Ceiling = 110_000 },
			host:   func(o *Observation) { setEntries(o, 97_000) },
			want:   decided{Exhausted, Unknown, NotHeld, []Action{{Type: RaiseMax, From: 100_000, To: 110_000, Reason: ReasonFill}}},
		},
		"max is not raised under memory pressure": {
			host: func(o *Observation) { setEntries(o, 97_000); o.Memory.Pressure = 1001 },
			want: decided{Exhausted, Unknown, HeldPressure, nil},
		},
		"without a reading of the memory, max is not raised": {
			host: func(o *Observation) { setEntries(o, 97_000); o.Memory = Memory{} },
			want: decided{Exhausted, Unknown, HeldMemoryUnknown, nil},
		},
		"a read-only max is held": {
			host: func(o *Observation) { setEntries(o, 97_000); o.Kernel.MaxWritable = false },
			want: decided{Exhausted, Unknown, HeldReadOnly, nil},
		},
		"without host-wide writes a raise is a would": {
			limits: func(l *Limits) { l.NoHostWide = true },
			host:   func(o *Observation) { setEntries(o, 97_000); o.Kernel.MaxWritable = false; o.Table.NetNS = 7 },
			want: decided{Exhausted, Unknown, NotHeld, []Action{
				{Type: RaiseMax, From: 100_000, To: 150_000, Reason: ReasonFill, Would: true},
			}},
		},
		"churn: after the raise, only timeouts of closing states are shortened": {
			host:  func(o *Observation) { setEntries(o, 97_000); churn(o) },
			state: func(s *State) { raised(s); s.Records[RaiseMax].Waiting = true },
			want: decided{Exhausted, Churn, NotHeld, []Action{
				{Type: ShortenTimeout, Knob: conntrack.TCPTimeWait, From: 120, To: 60, Reason: ReasonChurn},
				{Type: ShortenTimeout, Knob: conntrack.TCPFinWait, From: 120, To: 60, Reason: ReasonChurn},
			}},
		},
		"churn: timeouts at their floors lead to ageing": {
			host: func(o *Observation) {
				setEntries(o, 97_000)
				churn(o)
				o.Timeouts[conntrack.TCPTimeWait], o.Timeouts[conntrack.TCPFinWait] = 30, 20
			},
			state: func(s *State) { raised(s); s.Records[RaiseMax].Waiting = true },
			want: decided{Exhausted, Churn, NotHeld, []Action{
				{Type: AgeEntries, Class: Closing, From: 97_000, To: 77_600, Cap: 19_400, Remaining: 30, Reason: ReasonChurn},
			}},
		},
		"load: beyond the budget, timeouts of closing states are shortened": {
			host: func(o *Observation) {
				setEntries(o, 97_000)
				o.Census, o.CensusAt = census.Summary{Seen: 100, Established: 79, Assured: 99, Closing: 20}, o.Now
				o.Memory.Available = 100 << 20
				o.Memory.Total = 1 << 30
			},
			want: decided{Exhausted, Load, NotHeld, []Action{
				{Type: ShortenTimeout, Knob: conntrack.TCPTimeWait, From: 120, To: 60, Reason: ReasonChurn},
				{Type: ShortenTimeout, Knob: conntrack.TCPFinWait, From: 120, To: 60, Reason: ReasonChurn},
			}},
		},
		"load: with few closing connections the plan is held": {
			host: func(o *Observation) {
				setEntries(o, 97_000)
				o.Census, o.CensusAt = census.Summary{Seen: 100, Established: 80, Assured: 99, Closing: 19}, o.Now
				o.Memory.Available = 100 << 20
				o.Memory.Total = 1 << 30
			},
			want: decided{Exhausted, Load, HeldBudget, nil},
		},
		"half-open: the first act is one raise": {
			host: func(o *Observation) { setEntries(o, 97_000); halfOpen(o) },
			want: decided{Exhausted, HalfOpen, NotHeld, []Action{{Type: RaiseMax, From: 100_000, To: 150_000, Reason: ReasonFill}}},
		},
		"half-open: after one raise, timeouts come before another": {
			host:  func(o *Observation) { setEntries(o, 97_000); halfOpen(o) },
			state: raised,
			want: decided{Exhausted, HalfOpen, NotHeld, []Action{
				{Type: ShortenTimeout, Knob: conntrack.TCPSynSent, From: 120, To: 60, Reason: ReasonHalfOpen},
				{Type: ShortenTimeout, Knob: conntrack.TCPSynRecv, From: 60, To: 30, Reason: ReasonHalfOpen},
				{Type: ShortenTimeout, Knob: conntrack.UDP, From: 30, To: 20, Reason: ReasonHalfOpen},
			}},
		},
		"half-open: then idle unreplied entries are deleted": {
			host:  func(o *Observation) { setEntries(o, 97_000); halfOpen(o) },
			state: func(s *State) { raised(s); s.Records[ShortenTimeout] = Record{At: 1, Acts: 1, Waiting: true} },
			want: decided{Exhausted, HalfOpen, NotHeld, []Action{{
				Type: DeleteEntries, Class: Unreplied, From: 97_000, To: 77_600, Cap: 19_400,
				MinIdle: 10 * time.Second, SynSentIdle: 15 * time.Second, Reason: ReasonHalfOpen,
			}}},
		},
		"half-open: no entry is proven idle before the table was observed for long enough": {
			host: func(o *Observation) { setEntries(o, 97_000); halfOpen(o) },
			state: func(s *State) {
				raised(s)
				s.Since = BootTime(time.Hour - 18*time.Second + 1)
				s.Records[RaiseMax].Waiting = true
				s.Records[ShortenTimeout] = Record{At: 1, Acts: 1, Waiting: true}
			},
			want: decided{Exhausted, HalfOpen, HeldAwaiting, nil},
		},
		"half-open: a deletion without effect is not repeated at once": {
			host: func(o *Observation) { setEntries(o, 97_000); halfOpen(o) },
			state: func(s *State) {
				raised(s)
				s.Records[RaiseMax].Waiting = true
				s.Records[ShortenTimeout] = Record{At: 1, Acts: 1, Waiting: true}
				s.Records[DeleteEntries] = Record{At: BootTime(time.Hour - 14*time.Second), Acts: 1, Failures: 1}
			},
			want: decided{Exhausted, HalfOpen, HeldAwaiting, nil},
		},
		"half-open: while packets are lost, max is raised again": {
			host:  func(o *Observation) { setEntries(o, 100_000); halfOpen(o); o.Table.Counters.Drop = 10 },
			state: func(s *State) { raised(s); s.Trend.At = BootTime(time.Hour - time.Second); s.Trend.Entries = 100_000 },
			want:  decided{Exhausted, HalfOpen, NotHeld, []Action{{Type: RaiseMax, From: 100_000, To: 150_000, Reason: ReasonDropping}}},
		},
		"half-open: too few deletable entries are not deleted": {
			host: func(o *Observation) { setEntries(o, 97_000); halfOpen(o); o.Census.Deletable = 5 },
			state: func(s *State) {
				raised(s)
				s.Records[RaiseMax].Waiting = true
				s.Records[ShortenTimeout] = Record{At: 1, Acts: 1, Waiting: true}
			},
			want: decided{Exhausted, HalfOpen, HeldAwaiting, nil},
		},
		"another kind of act waits until the last one took effect": {
			host: func(o *Observation) { setEntries(o, 97_000); churn(o) },
			state: func(s *State) {
				raised(s)
				s.LastAct = BootTime(time.Hour - 14*time.Second)
				s.Records[RaiseMax].Waiting = true
			},
			want: decided{Exhausted, Churn, HeldAwaiting, nil},
		},
		"stale: established entries are not aged by default": {
			host: func(o *Observation) {
				setEntries(o, 97_000)
				o.Census, o.CensusAt = census.Summary{Seen: 100, Established: 99, Assured: 99, Stale: 80}, o.Now
			},
			state: func(s *State) { raised(s); s.Records[RaiseMax].Banned = true },
			want:  decided{Exhausted, Stale, HeldBanned, nil},
		},
		"stale: aged where the administrator opted in": {
			limits: func(l *Limits) { l.Age.EstablishedFloor = 7440 * time.Second },
			host: func(o *Observation) {
				setEntries(o, 97_000)
				o.Census, o.CensusAt = census.Summary{Seen: 100, Established: 99, Assured: 99, Stale: 80}, o.Now
			},
			state: func(s *State) { raised(s); s.Records[RaiseMax].Banned = true },
			want: decided{Exhausted, Stale, NotHeld, []Action{{
				Type: AgeEntries, Class: Established, From: 97_000, To: 77_600, Cap: 19_400,
				MinIdle: 7440 * time.Second, Remaining: 30, Reason: ReasonStale,
			}}},
		},
		"a census of 31 s ago is ignored": {
			host: func(o *Observation) { setEntries(o, 97_000); churn(o); o.CensusAt = o.Now - BootTime(31*time.Second) },
			want: decided{Exhausted, Unknown, NotHeld, []Action{{Type: RaiseMax, From: 100_000, To: 150_000, Reason: ReasonFill}}},
		},
		"paused": {
			host:  func(o *Observation) { setEntries(o, 97_000) },
			state: func(s *State) { s.Pause(BootTime(time.Hour), time.Minute) },
			want:  decided{Exhausted, Unknown, HeldPaused, nil},
		},
		"the breaker is open": {
			host:  func(o *Observation) { setEntries(o, 97_000) },
			state: func(s *State) { s.SafetyPauseUntil = BootTime(2 * time.Hour) },
			want:  decided{Exhausted, Unknown, HeldBreaker, nil},
		},
		"the thirteenth act of an hour opens the breaker": {
			host: func(o *Observation) { setEntries(o, 97_000) },
			state: func(s *State) {
				for i := range 12 {
					s.Acts[i] = BootTime(time.Duration(i+1) * time.Minute)
				}
			},
			want: decided{Exhausted, Unknown, HeldBreaker, nil},
		},
		"the twelfth act of an hour does not open the breaker": {
			host: func(o *Observation) { setEntries(o, 97_000) },
			state: func(s *State) {
				for i := range 11 {
					s.Acts[i] = BootTime(time.Duration(i+1) * time.Minute)
				}
			},
			want: decided{Exhausted, Unknown, NotHeld, []Action{{Type: RaiseMax, From: 100_000, To: 150_000, Reason: ReasonFill}}},
		},
		"a shortened timeout is restored after ten calm minutes": {
			host:  func(o *Observation) { o.Timeouts[conntrack.TCPTimeWait] = 30 },
			state: lease(30, 120, 11*time.Minute),
			want: decided{Calm, NoCause, NotHeld, []Action{
				{Type: RestoreTimeout, Knob: conntrack.TCPTimeWait, From: 30, To: 60, Reason: ReasonCalm},
			}},
		},
		"a shortened timeout is not restored after nine": {
			host:  func(o *Observation) { o.Timeouts[conntrack.TCPTimeWait] = 30 },
			state: lease(30, 120, 9*time.Minute),
			want:  decided{Calm, NoCause, HeldCalm, nil},
		},
		"the last step restores the original, not the double": {
			host:  func(o *Observation) { o.Timeouts[conntrack.TCPTimeWait] = 80 },
			state: lease(80, 120, time.Hour/2),
			want: decided{Calm, NoCause, NotHeld, []Action{
				{Type: RestoreTimeout, Knob: conntrack.TCPTimeWait, From: 80, To: 120, Reason: ReasonCalm},
			}},
		},
		"a restore that would fill the table again is held": {
			host:  func(o *Observation) { setEntries(o, 40_000); o.Timeouts[conntrack.TCPTimeWait] = 30 },
			state: lease(30, 120, time.Hour/2),
			want:  decided{Calm, NoCause, HeldWouldRefill, nil},
		},
		"a value of another program is yielded before any act": {
			host:  func(o *Observation) { setEntries(o, 97_000) },
			state: func(s *State) { s.Max = Knob{Original: 50_000, Written: 200_000} },
			want:  decided{Exhausted, Unknown, HeldYielded, nil},
		},
		"a yielded max is not raised": {
			host:  func(o *Observation) { setEntries(o, 97_000) },
			state: func(s *State) { s.Max = Knob{YieldUntil: BootTime(2 * time.Hour), YieldPause: time.Hour} },
			want:  decided{Exhausted, Unknown, HeldYielded, nil},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			limits, host := Defaults(), calmObservation()
			if test.limits != nil {
				test.limits(&limits)
			}
			if test.host != nil {
				test.host(&host)
			}
			var state State
			if test.rate > 0 {
				state = rising(host, test.rate)
				state.Trend.Counters = conntrack.Counters{}
			}
			if test.state != nil {
				test.state(&state)
			}
			if diff := cmp.Diff(test.want, decide(limits, state, host)); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

// lease is the state after time_wait was shortened and the table was calm for
// a while.
func lease(written, original uint64, calm time.Duration) func(*State) {
	return func(s *State) {
		s.Timeouts[conntrack.TCPTimeWait] = Knob{Original: original, Written: written}
		s.CalmSince = BootTime(time.Hour - calm)
	}
}

func TestLevelsFallWithHysteresis(t *testing.T) {
	l := Defaults()
	var s State
	o := calmObservation()
	step := func(entries uint64, after time.Duration, want Level) {
		t.Helper()
		o.Now = o.Now.Add(after)
		o.Table.Entries = entries
		a := l.Assess(&s, &o)
		p := Plan{Assessment: a, Held: HeldEnough}
		s = s.Next(&l, &p, nil)
		if s.Level != want {
			t.Errorf("%d entries after %s: level %v, want %v", entries, after, s.Level, want)
		}
	}
	step(95_000, 0, Exhausted)
	step(90_000, time.Hour, Exhausted)
	step(89_999, time.Hour, High)
	step(80_000, time.Hour, High)
	step(79_999, time.Hour, Elevated)
	step(60_000, time.Hour, Elevated)
	step(59_999, time.Hour, Elevated)
	step(59_999, 4*time.Minute, Elevated)
	step(60_000, time.Second, Elevated) // the wait for calm restarts
	step(59_999, 5*time.Minute, Elevated)
	step(59_999, 5*time.Minute, Calm)
	step(74_999, time.Hour, Calm)
}

func TestTwoVerdictsWithoutEffectBanAnAct(t *testing.T) {
	l := Defaults()
	o := calmObservation()
	o.Table.Entries = 97_000
	s := State{Level: Exhausted}
	s.Records[DeleteEntries] = Record{
		At: o.Now - 1e9, Acts: 2, Waiting: true, WaitUntil: o.Now, Failures: 1, Changed: 3,
		Before: Readings{At: 1, Entries: 97_000, Max: 100_000}, Base: Readings{At: o.Now - 5e8, Entries: 97_000, Max: 100_000},
	}
	a := l.Assess(&s, &o)
	p := l.Decide(&s, &a)
	if len(p.Verdicts) != 1 || p.Verdicts[0].Result != NoEffect || !p.Verdicts[0].Bans {
		t.Fatalf("verdicts %+v, want one without effect that bans", p.Verdicts)
	}
	next := s.Next(&l, &p, nil)
	if !next.Records[DeleteEntries].Banned {
		t.Error("delete_entries is not banned")
	}
}

func TestValuesOfOtherPrograms(t *testing.T) {
	l := Defaults()
	tests := map[string]struct {
		found uint64
		want  []Override
		knob  Knob
	}{
		"the value that ctwarden wrote is no override": {200_000, nil, Knob{Original: 100_000, Written: 200_000}},
		"a higher value of another program is the new base": {
			300_000,
			[]Override{{Type: RaiseMax, Wrote: 200_000, Found: 300_000, Original: 100_000, Change: ExternallyRaised}},
			Knob{},
		},
		"a lower value of another program is yielded for an hour": {
			150_000,
			[]Override{{Type: RaiseMax, Wrote: 200_000, Found: 150_000, Original: 100_000, Change: ExternallyChanged, Yield: time.Hour}},
			Knob{YieldUntil: BootTime(2 * time.Hour), YieldPause: time.Hour},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := State{Max: Knob{Original: 100_000, Written: 200_000}}
			o := calmObservation()
			o.Table.Max = test.found
			a := l.Assess(&s, &o)
			p := l.Decide(&s, &a)
			if diff := cmp.Diff(test.want, p.Overrides); diff != "" {
				t.Errorf("overrides (-want +got):\n%s", diff)
			}
			next := s.Next(&l, &p, nil)
			if diff := cmp.Diff(test.knob, next.Max); diff != "" {
				t.Errorf("knob (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnassuredShareFromTheCounters(t *testing.T) {
	o := calmObservation()
	o.Table = conntrack.Table{Entries: 65_536, Max: 65_536, Buckets: 65_536}
	tests := map[string]struct {
		dropped, evicted float64
		least, most      conntrack.Permyriad
	}{
		"no events: unknown":                              {0, 0, UnknownShare, UnknownShare},
		"early drop never fails: all":                     {0, 1000, 10000, 10000},
		"early drop always fails: none":                   {1000, 0, 0, 0},
		"a fifth fails: about 10 % (16 entries examined)": {200, 800, 950, 1050},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := unassured(&o, &Trend{Dropped: test.dropped, Evicted: test.evicted})
			if got < test.least || got > test.most {
				t.Errorf("share %d, want %d to %d", got, test.least, test.most)
			}
		})
	}
}

func TestLimitsHaveADigest(t *testing.T) {
	a, b := Defaults(), Defaults()
	if a.Digest() != b.Digest() || len(a.Digest()) != 64 {
		t.Errorf("digests %q and %q of the same limits", a.Digest(), b.Digest())
	}
	b.Shorten.Floors[conntrack.UDP]++
	if a.Digest() == b.Digest() {
		t.Error("other limits have the same digest")
	}
}

func TestShorteningIsJudgedByTheEntries(t *testing.T) {
	l := Defaults()
	figures := func(entries uint64, rate float64, drops uint64) Readings {
		return Readings{
			Entries: entries, Max: 100_000, Fullness: conntrack.Share(entries, 100_000), Rate: rate,
			Counters: conntrack.Counters{Drop: drops},
		}
	}
	before := figures(80_000, 1000, 0)
	tests := map[string]struct {
		after Readings
		drops uint64
		want  Result
	}{
		"fewer entries":                             {figures(79_000, 900, 0), 0, Helped},
		"not noticeably fewer":                      {figures(79_001, 900, 0), 0, NoEffect},
		"growing at half the rate":                  {figures(85_000, 500, 0), 0, Helped},
		"growing at more than half the rate":        {figures(85_000, 501, 0), 0, NoEffect},
		"not growing because it is full":            {figures(100_000, 0, 0), 0, NoEffect},
		"more entries, and packets are lost":        {figures(90_000, 900, 0), 5, Worse},
		"hardly more entries, and packets are lost": {figures(80_999, 900, 0), 5, NoEffect},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := Record{Before: before}
			v := Verdict{Type: ShortenTimeout, Before: before, After: test.after}
			if got := l.judgeFill(&r, &v, test.drops); got != test.want {
				t.Errorf("result %v, want %v", got, test.want)
			}
		})
	}
}

func TestPausesStartShortAfterADay(t *testing.T) {
	l := Defaults()
	now := BootTime(100 * time.Hour)
	tests := map[string]struct {
		until BootTime
		want  time.Duration
	}{
		"the first":                              {0, l.Breaker.Pause},
		"less than a day after another: doubled": {now - BootTime(23*time.Hour), 4 * l.Breaker.Pause},
		"a day after: as for the first":          {now - BootTime(24*time.Hour), l.Breaker.Pause},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := State{SafetyPauseUntil: test.until}
			k := Knob{YieldUntil: test.until}
			if test.until != 0 {
				s.SafetyPause, k.YieldPause = 2*l.Breaker.Pause, 2*l.Breaker.Pause
			}
			l.openBreaker(&s, now)
			if s.SafetyPause != test.want || s.SafetyPauseUntil != now.Add(test.want) {
				t.Errorf("the breaker pauses for %s until %s, want %s", s.SafetyPause, s.SafetyPauseUntil, test.want)
			}
			l.Backoff.Pause = l.Breaker.Pause
			if got := l.yield(&k, now); got != test.want {
				t.Errorf("yields for %s, want %s", got, test.want)
			}
		})
	}
}

func TestUnloadingTheModuleReleasesItsValues(t *testing.T) {
	l := Defaults()
	s := State{Max: Knob{Original: 1, Written: 2}, Buckets: Knob{Written: 3}}
	s.Timeouts[conntrack.UDP] = Knob{Original: 30, Written: 20}
	o := Observation{Now: BootTime(time.Hour), Absent: true}
	a := l.Assess(&s, &o)
	p := l.Decide(&s, &a)
	next := s.Next(&l, &p, nil)
	if next.Max != (Knob{}) || next.Buckets != (Knob{}) || next.Timeouts != (Knobs{}) {
		t.Errorf("still claims %+v", next)
	}
}
