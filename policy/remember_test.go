package policy_test

import (
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/nfct"
	"github.com/ctwarden/ctwarden/policy"
)

// look makes one decision, and remembers it with what the kernel said to it.
func look(l *policy.Limits, s *policy.State, o *policy.Observation, said func(*policy.Outcome)) (policy.Plan, policy.State) {
	a := l.Assess(s, o)
	p := l.Decide(s, &a)
	var outcomes []policy.Outcome
	for _, act := range p.Actions {
		out := policy.Outcome{Action: act, Before: act.From, After: act.To, OK: true}
		if said != nil {
			said(&out)
		}
		outcomes = append(outcomes, out)
	}
	return p, s.Next(l, &p, outcomes)
}

func TestAValueThatChangedUnderTheWriteIsYielded(t *testing.T) {
	l := policy.Defaults()
	o := steady()["calm"]
	o.Table.Entries = 97_000
	p, s := look(&l, &policy.State{}, &o, func(out *policy.Outcome) { out.OK, out.Foreign, out.Before = false, true, 120_000 })
	if !p.Acts() || s.Max != (policy.Knob{YieldUntil: o.Now.Add(time.Hour), YieldPause: time.Hour}) {
		t.Errorf("actions %+v, afterwards %+v", p.Actions, s.Max)
	}
}

func TestAnActThatFailsTwiceIsBanned(t *testing.T) {
	l := policy.Defaults()
	o := steady()["calm"]
	o.Table.Entries = 97_000
	var s policy.State
	acts := 0
	for range 600 {
		var p policy.Plan
		if p, s = look(&l, &s, &o, func(out *policy.Outcome) { out.OK, out.Error = false, "no" }); p.Acts() {
			acts++
		}
		o.Now = o.Now.Add(time.Second)
	}
	if acts != 2 || !s.Records[policy.RaiseMax].Banned {
		t.Errorf("%d acts, want 2; then %+v", acts, s.Records[policy.RaiseMax])
	}
}

func TestWhatIsOnlyToldIsNotToldAgainForAMinute(t *testing.T) {
	l := policy.Defaults()
	l.Mode = policy.Observe
	o := steady()["calm"]
	o.Table.Entries = 97_000
	var s policy.State
	var told []policy.Moment
	begin := o.Now
	for range 121 {
		var p policy.Plan
		if p, s = look(&l, &s, &o, nil); p.Acts() {
			told = append(told, o.Now-begin)
		}
		o.Now = o.Now.Add(time.Second)
	}
	if len(told) != 3 || told[1] != policy.Moment(time.Minute) || s.Max != (policy.Knob{}) {
		t.Errorf("told at %v, want at 0s, 1m0s and 2m0s; max %+v", told, s.Max)
	}
}

func TestAnIncidentTakesItsRecordsAlong(t *testing.T) {
	l := policy.Defaults()
	o := steady()["calm"]
	s := policy.State{Level: policy.Elevated, LowSince: o.Now - policy.Moment(time.Hour/2)}
	s.Records[policy.RaiseMax] = policy.Record{At: 1, Acts: 2, Strikes: 2, Banned: true}
	if _, s = look(&l, &s, &o, nil); s.Level != policy.Calm || s.Records != (policy.Records{}) {
		t.Errorf("level %s, records %+v", s.Level, s.Records)
	}
}

func TestTheBreakerDoublesItsPauseUpToADay(t *testing.T) {
	l := policy.Defaults()
	o := steady()["calm"]
	o.Table.Entries = 97_000
	var s policy.State
	for _, want := range []time.Duration{30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
		for i := range 12 {
			s.Acts[i] = o.Now - policy.Moment(i+1)
		}
		var p policy.Plan
		if p, s = look(&l, &s, &o, nil); !p.Trips || s.HandsOffUntil.Since(o.Now) != want {
			t.Fatalf("trips: %t; hands off for %s, want %s", p.Trips, s.HandsOffUntil.Since(o.Now), want)
		}
		o.Now = s.HandsOffUntil - 1
		if p, s = look(&l, &s, &o, nil); p.Trips || p.Held != policy.HeldBreaker {
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
		"nothing seen yet":                   {policy.Calm, 0, 0, time.Second},
		"a quarter of the time to full":      {policy.Calm, 90_000, 10_000, 250 * time.Millisecond},
		"room for a minute":                  {policy.Calm, 40_000, 1000, time.Second},
		"never sooner than the least":        {policy.Elevated, 99_999, 1e9, 50 * time.Millisecond},
		"a high table is looked at often":    {policy.High, 40_000, 1, 250 * time.Millisecond},
		"an exhausted one as often as it is": {policy.Exhausted, 0, 0, 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			a := policy.Assessment{Level: test.level, Trend: policy.Trend{Worst: test.worst}}
			a.Observation.Table = nfct.Table{Entries: test.entries, Max: 100_000}
			if got := l.Interval(&a); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

// Growth that has passed its peak is not answered, unless the table is nearly
// full.
func TestGrowthThatEasesIsLeftToIt(t *testing.T) {
	for peak, want := range map[float64]policy.Hold{1000: policy.NotHeld, 1300: policy.HeldFalling} {
		l := policy.Defaults()
		l.Raise.Ceiling = 100_000 // what is left is to shorten
		o := steady()["calm"]
		o.Table.Entries = 76_000
		o.Census.Seen, o.Census.Closing, o.CensusAt = 1000, 970, o.Now
		s := policy.State{Level: policy.Elevated, Trend: policy.Trend{
			At: o.Now - policy.Moment(time.Second), Entries: 75_600, Rising: 9, Fast: 400, Slow: 400, Peak: peak * 0.4,
		}}
		if p, _ := look(&l, &s, &o, nil); p.Held != want {
			t.Errorf("peak %g: held %q, want %q", peak, p.Held, want)
		}
	}
}
