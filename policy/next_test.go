package policy_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// decideOnce makes one decision and returns it with the next state. Every act
// succeeds, unless change says otherwise. Change is optional.
func decideOnce(l *policy.Limits, s *policy.State, o *policy.Observation, change func(*policy.Outcome)) (policy.Plan, policy.State) {
	a := l.Assess(s, o)
	p := l.Decide(s, &a)
	var outcomes []policy.Outcome
	for _, act := range p.Actions {
		out := policy.Outcome{Action: act, Before: act.From, After: act.To, OK: true}
		if change != nil {
			change(&out)
		}
		outcomes = append(outcomes, out)
	}
	return p, s.Next(l, &p, outcomes)
}

func TestAValueThatChangedBeforeTheWriteIsYielded(t *testing.T) {
	l := policy.Defaults()
	o := steadyObservations()["calm"]
	o.Table.Entries = 97_000
	p, s := decideOnce(&l, &policy.State{}, &o, func(out *policy.Outcome) { out.OK, out.ChangedExternally, out.Before = false, true, 120_000 })
	if !p.Acts() || s.Max != (policy.Knob{YieldUntil: o.Now.Add(time.Hour), YieldPause: time.Hour}) {
		t.Errorf("actions %+v, afterwards %+v", p.Actions, s.Max)
	}
}

func TestAnActThatFailsTwiceIsBanned(t *testing.T) {
	l := policy.Defaults()
	o := steadyObservations()["calm"]
	o.Table.Entries = 97_000
	var s policy.State
	acts := 0
	for range 600 {
		var p policy.Plan
		if p, s = decideOnce(&l, &s, &o, func(out *policy.Outcome) { out.OK, out.Error = false, "no" }); p.Acts() {
			acts++
		}
		o.Now = o.Now.Add(time.Second)
	}
	if acts != 2 || !s.Records[policy.RaiseMax].Banned {
		t.Errorf("%d acts, want 2; then %+v", acts, s.Records[policy.RaiseMax])
	}
}

func TestAWouldIsRepeatedAfterAMinute(t *testing.T) {
	l := policy.Defaults()
	l.Mode = policy.Observe
	o := steadyObservations()["calm"]
	o.Table.Entries = 97_000
	var s policy.State
	var planned []policy.BootTime
	begin := o.Now
	for range 121 {
		var p policy.Plan
		if p, s = decideOnce(&l, &s, &o, nil); p.Acts() {
			planned = append(planned, o.Now-begin)
		}
		o.Now = o.Now.Add(time.Second)
	}
	if len(planned) != 3 || planned[1] != policy.BootTime(time.Minute) || s.Max != (policy.Knob{}) {
		t.Errorf("planned at %v, want at 0s, 1m0s and 2m0s; max %+v", planned, s.Max)
	}
}

func TestRecordsEndWithTheirIncident(t *testing.T) {
	l := policy.Defaults()
	o := steadyObservations()["calm"]
	s := policy.State{Level: policy.Elevated, LowSince: o.Now - policy.BootTime(time.Hour/2)}
	s.Records[policy.RaiseMax] = policy.Record{At: 1, Acts: 2, Failures: 2, Banned: true}
	if _, s = decideOnce(&l, &s, &o, nil); s.Level != policy.Calm || s.Records != (policy.Records{}) {
		t.Errorf("level %s, records %+v", s.Level, s.Records)
	}
}

func TestTheBreakerDoublesItsPauseUpToADay(t *testing.T) {
	l := policy.Defaults()
	o := steadyObservations()["calm"]
	o.Table.Entries = 97_000
	var s policy.State
	for _, want := range []time.Duration{30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
		for i := range 12 {
			s.Acts[i] = o.Now - policy.BootTime(i+1)
		}
		var p policy.Plan
		if p, s = decideOnce(&l, &s, &o, nil); !p.Trips || s.SafetyPauseUntil.Since(o.Now) != want {
			t.Fatalf("trips: %t; pause %s, want %s", p.Trips, s.SafetyPauseUntil.Since(o.Now), want)
		}
		o.Now = s.SafetyPauseUntil - 1
		if p, s = decideOnce(&l, &s, &o, nil); p.Trips || p.Held != policy.HeldBreaker {
			t.Errorf("at the end of the pause: trips %t, held %q", p.Trips, p.Held)
		}
		o.Now++
	}
}

func TestTheIntervalFollowsTheWorstRate(t *testing.T) {
	l := policy.Defaults()
	for name, test := range map[string]struct {
		level   policy.Level
		entries uint64
		worst   float64
		want    time.Duration
	}{
		"no rate yet":                                          {policy.Calm, 0, 0, time.Second},
		"a quarter of the time to full":                        {policy.Calm, 90_000, 10_000, 250 * time.Millisecond},
		"room for a minute":                                    {policy.Calm, 40_000, 1000, time.Second},
		"never below the minimum interval":                     {policy.Elevated, 99_999, 1e9, 50 * time.Millisecond},
		"a high table has a short interval":                    {policy.High, 40_000, 1, 250 * time.Millisecond},
		"an exhausted table that keeps its room has the same":  {policy.Exhausted, 96_000, 1, 250 * time.Millisecond},
		"an exhausted table that is full soon has the minimum": {policy.Exhausted, 96_000, 1e6, 50 * time.Millisecond},
		"a full table has the minimum":                         {policy.Exhausted, 100_000, 0, 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			a := policy.Assessment{Level: test.level, Trend: policy.Trend{Worst: test.worst}}
			a.Observation.Table = conntrack.Table{Entries: test.entries, Max: 100_000}
			if got := l.Interval(&a); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestATableThatLosesPacketsIsSampledAtTheMinimumInterval(t *testing.T) {
	l := policy.Defaults()
	for name, change := range map[string]func(*policy.Assessment){
		"a packet was dropped":         func(a *policy.Assessment) { a.Drops.Drop = 1 },
		"an entry was early dropped":   func(a *policy.Assessment) { a.Drops.EarlyDrop = 1 },
		"the kernel logged table full": func(a *policy.Assessment) { a.Observation.Full = 1 },
	} {
		a := policy.Assessment{Level: policy.Exhausted, Fullness: 9600}
		a.Observation.Table = conntrack.Table{Entries: 96_000, Max: 100_000}
		if got := l.Interval(&a); got != l.Sampling.High {
			t.Errorf("nothing lost: %s", got)
		}
		change(&a)
		if got := l.Interval(&a); got != l.Sampling.Min {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// While growth slows down, the policy waits, unless the table is nearly full.
func TestGrowthPastItsPeakIsHeld(t *testing.T) {
	for peak, want := range map[float64]policy.Hold{1000: policy.NotHeld, 1300: policy.HeldFalling} {
		l := policy.Defaults()
		l.Raise.Ceiling = 100_000 // no raise is possible, only shorter timeouts
		o := steadyObservations()["calm"]
		o.Table.Entries = 76_000
		o.Census.Seen, o.Census.Closing, o.CensusAt = 1000, 970, o.Now
		s := policy.State{Level: policy.Elevated, Trend: policy.Trend{
			At: o.Now - policy.BootTime(time.Second), Entries: 75_600, Rising: 9, Fast: 400, Slow: 400, Peak: peak * 0.4,
		}}
		if p, _ := decideOnce(&l, &s, &o, nil); p.Held != want {
			t.Errorf("peak %g: held %q, want %q", peak, p.Held, want)
		}
	}
}

// A resize that every kernel refuses would be planned again and again.
func TestTheHashOfALargeHostIsWithinTheKernelsBound(t *testing.T) {
	l := policy.Defaults()
	l.Raise.Ceiling, l.Hash.MaxRatio, l.Budget.TotalShare, l.Jitter = math.MaxInt32, 1, 5000, policy.JitterLimits{}
	o := steadyObservations()["calm"]
	o.Memory.Total, o.Memory.Available = 24<<40, 23<<40
	p, _ := decideOnce(&l, &policy.State{}, &o, nil)
	if len(p.Actions) != 1 || p.Actions[0].Type != policy.ResizeHash {
		t.Fatalf("actions %+v, held %q", p.Actions, p.Held)
	}
	// INT_MAX / sizeof(struct hlist_nulls_head), since Linux 7.0.
	if to := p.Actions[0].To; to > math.MaxInt32/8 || to < math.MaxInt32/16 || to%512 != 0 {
		t.Errorf("%d buckets", to)
	}
}

// Records hold these names: a value with another value's name would change what
// earlier records mean.
func TestRecordedNamesDoNotChange(t *testing.T) {
	for want, got := range map[string]fmt.Stringer{
		"off": policy.Off, "enforce": policy.Enforce,
		"calm": policy.Calm, "exhausted": policy.Exhausted,
		"helped": policy.Helped, "no_effect": policy.NoEffect, "worse": policy.Worse, "inconclusive": policy.Inconclusive,
		"raised": policy.ExternallyRaised, "changed": policy.ExternallyChanged,
		"raise_max": policy.RaiseMax, "restore_max": policy.RestoreMax,
		"unreplied": policy.Unreplied, "established": policy.Established,
		"unknown": policy.Unknown, "no_memory": policy.NoMemory,
		"full_soon": policy.ReasonFullSoon, "asked": policy.ReasonRequested,
		"paused": policy.HeldPaused, "no_audit": policy.HeldNoAudit,
		"eligible": policy.Eligible, "short": policy.SparedShort,
	} {
		if got.String() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// One rise may be a burst between two observations; two are a trend.
func TestTwoRisesAreATrend(t *testing.T) {
	l := policy.Defaults()
	for rises, want := range map[int]bool{1: false, 2: true} {
		o := steadyObservations()["calm"]
		o.Table.Entries, o.Table.Max = 10_000, 100_000
		s := policy.State{}
		_, s = decideOnce(&l, &s, &o, nil)
		var a policy.Assessment
		for range rises {
			o.Now = o.Now.Add(time.Second)
			o.Table.Entries += 1000
			a = l.Assess(&s, &o)
			_, s = decideOnce(&l, &s, &o, nil)
		}
		if (a.FullIn != policy.Never) != want {
			t.Errorf("full in %s after %d rises", a.FullIn, rises)
		}
	}
}

// No configuration permits to shorten the timeout of a live connection.
func TestTimeoutsOfLiveConnectionsAreNeverShortened(t *testing.T) {
	want := map[conntrack.Timeout]bool{
		conntrack.TCPTimeWait: true, conntrack.TCPFinWait: true, conntrack.TCPLastAck: true, conntrack.TCPClose: true,
		conntrack.TCPSynSent: true, conntrack.TCPSynRecv: true, conntrack.UDP: true,
	}
	for timeout := range conntrack.NumTimeouts {
		if policy.Shortens(timeout) != want[timeout] {
			t.Errorf("%s: %t", timeout, !want[timeout])
		}
	}
}

// An action needs a census of the last half minute.
func TestAnOldCensusChoosesNoAction(t *testing.T) {
	for age, want := range map[time.Duration]bool{10 * time.Second: true, time.Hour: false} {
		l := policy.Defaults()
		l.Raise.Ceiling = 0 // no raise is possible, only shorter timeouts
		o := steadyObservations()["calm"]
		o.Now = o.Now.Add(2 * time.Hour)
		o.Table.Entries, o.Table.Max, o.Full = 100_000, 100_000, 1
		o.Census = census.Summary{Seen: 1000, Assured: 1000, Established: 700, Closing: 300}
		o.CensusAt = o.Now.Add(-age)
		// Early drop fails nearly always: nearly all entries are ASSURED.
		s := policy.State{Trend: policy.Trend{At: o.Now.Add(-time.Second), Entries: 100_000, Dropped: 1000, Evicted: 10}}
		a := l.Assess(&s, &o)
		if a.Cause != policy.Load {
			t.Fatalf("cause %s", a.Cause)
		}
		if p := l.Decide(&s, &a); p.Acts() != want {
			t.Errorf("census %s ago: %+v, held %q", age, p.Actions, p.Held)
		}
	}
}

// An incident that closes gives a verdict on each act that waits for one.
func TestAnActThatIsNotJudgedBeforeItsIncidentEndsIsInconclusive(t *testing.T) {
	l := policy.Defaults()
	o := steadyObservations()["calm"]
	o.Now = o.Now.Add(24 * time.Hour)
	o.Table.Entries = o.Table.Max / 10
	s := policy.State{Level: policy.Elevated, LowSince: o.Now.Add(-time.Hour)}
	s.Records[policy.ShortenTimeout] = policy.Record{
		At: o.Now.Add(-time.Second), Acts: 1, Waiting: true, WaitUntil: o.Now.Add(time.Minute),
	}
	a := l.Assess(&s, &o)
	p := l.Decide(&s, &a)
	if len(p.Verdicts) != 1 || p.Verdicts[0].Result != policy.Inconclusive || p.Verdicts[0].Bans {
		t.Errorf("level %s, verdicts %+v", a.Level, p.Verdicts)
	}
}
