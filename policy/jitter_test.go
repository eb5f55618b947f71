package policy

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

func TestSpread(t *testing.T) {
	small := func(o *Observation) { o.Table.Buckets = 16384 }
	// The table has been observed for d. The budget permits a larger hash.
	watched := func(d time.Duration) func(*State) {
		return func(s *State) { s.Since = BootTime(time.Hour - d) }
	}
	resized := func(d time.Duration) func(*State) {
		return func(s *State) { s.Since, s.LastResize = 1, BootTime(48*time.Hour-d) }
	}
	later := func(o *Observation) { small(o); o.Now = BootTime(48 * time.Hour) }
	yielded := func(d time.Duration) func(*State) {
		return func(s *State) {
			s.Since = 1
			s.Buckets = Knob{YieldUntil: BootTime(time.Hour - d), YieldPause: time.Hour}
		}
	}
	tripped := func(d time.Duration) func(*State) {
		return func(s *State) {
			s.Since = 1
			s.SafetyPauseUntil, s.SafetyPause = BootTime(time.Hour-d), 40*time.Minute
		}
	}
	long := func(o *Observation) {
		small(o)
		o.Table.Counters = conntrack.Counters{Drop: 900, InsertFailed: 900, ChainTooLong: 900}
	}
	before := func(s *State) { s.Trend = Trend{At: BootTime(time.Hour - time.Second), Entries: 10_000} }
	stepped := func(d time.Duration) func(*State) {
		return func(s *State) {
			lease(30, 120, 30*time.Minute)(s)
			s.LastRestore = BootTime(time.Hour - d)
		}
	}
	tests := map[string]struct {
		phase conntrack.Permyriad
		host  func(*Observation)
		state func(*State)
		// zero sets a jitter of zero; otherwise it is the default.
		zero bool
		acts ActionType
		held Hold
	}{
		"the first host of a fleet restores as soon as permitted":              {0, nil, lease(30, 120, 10*time.Minute), false, RestoreTimeout, NotHeld},
		"the last host does not restore before a quarter more":                 {10000, nil, lease(30, 120, 12*time.Minute), false, NoAction, HeldCalm},
		"the last host restores after a quarter more":                          {10000, nil, lease(30, 120, 12*time.Minute+30*time.Second), false, RestoreTimeout, NotHeld},
		"a host in the middle restores after an eighth more":                   {5000, nil, lease(30, 120, 11*time.Minute+15*time.Second), false, RestoreTimeout, NotHeld},
		"a host in the middle does not restore before an eighth more":          {5000, nil, lease(30, 120, 11*time.Minute+14*time.Second), false, NoAction, HeldCalm},
		"the last host does not make the next step before a quarter more":      {10000, nil, stepped(74 * time.Second), false, NoAction, HeldCalm},
		"the last host makes the next step after a quarter more":               {10000, nil, stepped(75 * time.Second), false, RestoreTimeout, NotHeld},
		"without jitter the last host restores with the first":                 {10000, nil, lease(30, 120, 10*time.Minute), true, RestoreTimeout, NotHeld},
		"a phase above 10,000 counts as 10,000":                                {math.MaxUint32, nil, lease(30, 120, 12*time.Minute+30*time.Second), false, RestoreTimeout, NotHeld},
		"the first host resizes the hash at its first observation":             {0, small, nil, false, ResizeHash, NotHeld},
		"the last host does not":                                               {10000, small, nil, false, NoAction, HeldCalm},
		"the last host does not resize after 59 s":                             {10000, small, watched(59 * time.Second), false, NoAction, HeldCalm},
		"the last host resizes after a minute":                                 {10000, small, watched(time.Minute), false, ResizeHash, NotHeld},
		"a host in the middle resizes after half a minute":                     {5000, small, watched(30 * time.Second), false, ResizeHash, NotHeld},
		"without jitter the last host resizes at its first observation":        {10000, small, nil, true, ResizeHash, NotHeld},
		"long chains are not delayed":                                          {10000, long, before, false, ResizeHash, NotHeld},
		"the last host does not resize again before a quarter more than a day": {10000, later, resized(29 * time.Hour), false, NoAction, HeldCalm},
		"the last host resizes again after a quarter more than a day":          {10000, later, resized(30 * time.Hour), false, ResizeHash, NotHeld},
		"the last host does not end a yield before a quarter more":             {10000, small, yielded(14 * time.Minute), false, NoAction, HeldCalm},
		"the last host ends a yield after a quarter more":                      {10000, small, yielded(15 * time.Minute), false, ResizeHash, NotHeld},
		"the first host ends a yield in time":                                  {0, small, yielded(0), false, ResizeHash, NotHeld},
		"the last host does not close the breaker before a quarter more":       {10000, small, tripped(9 * time.Minute), false, NoAction, HeldBreaker},
		"the last host closes the breaker after a quarter more":                {10000, small, tripped(10 * time.Minute), false, ResizeHash, NotHeld},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l, o, s := Defaults(), calmObservation(), State{}
			if test.zero {
				l.Jitter = JitterLimits{}
			}
			if test.host != nil {
				test.host(&o)
			}
			if test.state != nil {
				test.state(&s)
			}
			for k := range s.Timeouts {
				if w := s.Timeouts[k].Written; w != 0 {
					o.Timeouts[k] = uint32(w)
				}
			}
			o.Jitter = test.phase
			a := l.Assess(&s, &o)
			p := l.Decide(&s, &a)
			acts := NoAction
			if p.Acts() {
				acts = p.Actions[0].Type
			}
			if acts != test.acts || p.Held != test.held {
				t.Errorf("%s, held %q; want %s, held %q", acts, p.Held, test.acts, test.held)
			}
			if p.Trips {
				t.Error("the breaker trips")
			}
		})
	}
}

// The jitter of a fleet delays no act on a table that is about to fill.
func TestSpreadDelaysNothingAtLevelHigh(t *testing.T) {
	l := Defaults()
	for name, state := range map[string]func(*State){
		"after the breaker": func(s *State) {
			s.SafetyPauseUntil, s.SafetyPause = BootTime(time.Hour), 24*time.Hour
		},
		"after a yield": func(s *State) {
			s.Max = Knob{YieldUntil: BootTime(time.Hour), YieldPause: 24 * time.Hour}
		},
	} {
		for _, entries := range []uint64{85_000, 96_000, 100_000} {
			o, s := calmObservation(), State{Since: 1}
			o.Jitter = 10000
			setEntries(&o, entries)
			state(&s)
			if got := decide(l, s, o); len(got.Acts) == 0 || got.Acts[0].Type != RaiseMax {
				t.Errorf("%s, %d entries: %+v", name, entries, got)
			}
			s.SafetyPauseUntil++
			s.Max.YieldUntil++
			if got := decide(l, s, o); len(got.Acts) > 0 && s.SafetyPause+s.Max.YieldPause > 0 {
				t.Errorf("%s, a nanosecond too early: %+v", name, got)
			}
		}
	}
}

func TestSpreadDelaysNoKnobThatWasNeverYielded(t *testing.T) {
	// A raise by another program, once adopted, leaves the pause and no moment.
	l, o := Defaults(), calmObservation()
	o.Now, o.Jitter, o.Table.Buckets = BootTime(5*time.Minute), 10000, 16384
	s := State{Since: 1, Buckets: Knob{YieldPause: 24 * time.Hour}}
	if got := decide(l, s, o); len(got.Acts) != 1 {
		t.Errorf("five minutes after boot: %+v", got)
	}
}

// Records of versions without a jitter have the digest of limits without one.
func TestLimitsWithoutSpreadKeepTheirDigest(t *testing.T) {
	l := Defaults()
	l.Jitter = JitterLimits{}
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("spread")) {
		t.Errorf("limits without jitter are %s", text)
	}
}
