package policy

import "time"

// A Result is the effect of an act.
type Result uint8

// The results.
const (
	Helped Result = iota + 1
	NoEffect
	Worse
	Inconclusive
)

var resultNames = []string{"none", "helped", "no_effect", "worse", "inconclusive"}

// String returns the name used in the audit log.
func (r Result) String() string { return nameOf(resultNames, r) }

// MarshalText implements encoding.TextMarshaler.
func (r Result) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Result) UnmarshalText(text []byte) (err error) {
	*r, err = parseName[Result](resultNames, text, "result")
	return err
}

// A Verdict judges an act by the readings before it and after its horizon.
type Verdict struct {
	Type    ActionType `json:"type"`
	ActedAt BootTime   `json:"acted_at"`
	Result  Result     `json:"result"`
	Before  Readings   `json:"before"`
	After   Readings   `json:"after"`
	// Bans is true when the kind of act is not used again in this incident.
	Bans bool `json:"bans,omitempty"`
}

// horizon is how long after an act its effect can be judged.
func (l *Limits) horizon(t ActionType) time.Duration {
	switch t {
	case ShortenTimeout, AgeEntries:
		return l.Verify.Timeouts
	case DeleteEntries:
		return l.Verify.Delete
	}
	return l.Verify.Raise
}

// verdicts judges the acts whose horizon has passed. The first observation after an
// act is its base and is never the one that judges it.
func (l *Limits) verdicts(s *State, a *Assessment) []Verdict {
	var due []Verdict
	now := a.Observation.Now
	// With an incident its records end, so that what still waits is judged
	// because no later observation follows.
	ends := (a.Level == Calm) != (s.Level == Calm)
	for t := range s.Records {
		r := &s.Records[t]
		early := r.Base.At == 0 || now < r.WaitUntil
		if !r.Waiting || early && !ends {
			continue
		}
		v := Verdict{Type: ActionType(t), ActedAt: r.At, Before: r.Before, After: a.readings()}
		v.Result = Inconclusive
		if !early {
			v.Result = l.judge(s, r, &v)
		}
		v.Bans = v.Result != Helped && v.Result != Inconclusive && r.Failures+1 >= l.Verify.MaxFailures
		due = append(due, v)
	}
	return due
}

func (l *Limits) judge(s *State, r *Record, v *Verdict) Result {
	drops := v.After.Counters.Since(r.Base.Counters).FullDrops()
	switch v.Type {
	case RaiseMax:
		switch {
		case v.After.Max < r.To:
			return NoEffect
		case drops > 0 && v.After.Entries <= r.Before.Max:
			// There is room, and packets are lost all the same. A raise that
			// is filled at once did help, though not enough.
			return NoEffect
		}
		return Helped
	case ResizeHash, RestoreTimeout, RestoreMax:
		return Helped
	case DeleteEntries:
		return l.judgeDeletion(r, v, drops)
	}
	if s.LastAct > r.At && s.LastAct.Since(r.At) < l.Verify.Timeouts || v.After.Max != r.Before.Max {
		return Inconclusive
	}
	return l.judgeFill(r, v, drops)
}

func (l *Limits) judgeDeletion(r *Record, v *Verdict, drops uint64) Result {
	useful := l.Verify.Useful.Of(r.Before.Entries)
	switch {
	case r.Changed < max(useful, 1):
		return NoEffect
	case v.After.Entries+r.Changed/2 <= r.Before.Entries:
		return Helped
	case v.After.Entries > r.Before.Entries && drops > 0:
		return Worse
	}
	// As many came as were deleted.
	return Inconclusive
}

func (l *Limits) judgeFill(r *Record, v *Verdict, drops uint64) Result {
	useful := l.Verify.Useful.Of(r.Before.Max)
	switch {
	case v.After.Entries+useful <= r.Before.Entries:
		return Helped
	case r.Before.Rate > 0 && v.After.Rate <= r.Before.Rate/2 && v.After.Fullness < l.Levels.ExhaustedEnter:
		// It still grows, but at half the rate; a full table grows no more.
		return Helped
	case v.After.Entries >= r.Before.Entries+useful && drops > 0:
		return Worse
	}
	return NoEffect
}
