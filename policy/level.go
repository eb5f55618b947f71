package policy

import "time"

// A Level is how near a table is to its limit. Levels are ordered.
type Level uint8

// The levels.
const (
	Calm Level = iota
	Elevated
	High
	Exhausted
)

var levelNames = []string{"calm", "elevated", "high", "exhausted"}

// String returns the name used in the audit log.
func (l Level) String() string { return nameOf(levelNames, l) }

// MarshalText implements encoding.TextMarshaler.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Level) UnmarshalText(text []byte) (err error) {
	*l, err = parseName[Level](levelNames, text, "level")
	return err
}

// level returns the level of the table, given the level before. It goes up at
// once and comes down by hysteresis: from high and exhausted as soon as the
// fullness is below the leave threshold, from elevated after a dwell.
func (l *Limits) level(s *State, o *Observation, a *Assessment) Level {
	if o.Absent || o.Table.Max == 0 {
		return Calm
	}
	t, fill := &l.Levels, a.Fullness
	kernelSaysFull := o.Full > 0 || a.Drops.FullDrops() > 0 || a.Drops.EarlyDrop > 0
	switch {
	case fill >= t.ExhaustedEnter,
		fill >= t.NearMax && kernelSaysFull,
		s.Level == Exhausted && fill >= t.ExhaustedLeave:
		return Exhausted
	case fill >= t.HighEnter,
		a.fullWithin(t.HighForecast),
		s.Level >= High && fill >= t.HighLeave,
		// A forecast fluctuates: the level falls only once it is twice as far off.
		s.Level >= High && a.fullWithin(2*t.HighForecast):
		return High
	case fill >= t.ElevatedEnter,
		fill >= t.ElevatedForecastFill && a.fullWithin(t.ElevatedForecast):
		return Elevated
	case s.Level >= Elevated && !l.calmEnough(s, o, a):
		return Elevated
	}
	return Calm
}

// calmEnough reports whether the fullness has been below ElevatedLeave for
// CalmAfter.
func (l *Limits) calmEnough(s *State, o *Observation, a *Assessment) bool {
	if a.Fullness >= l.Levels.ElevatedLeave {
		return false
	}
	return s.LowSince != 0 && o.Now.Since(s.LowSince) >= l.Levels.CalmAfter
}

// lowSince returns since when the fullness has been below ElevatedLeave without
// a forecast that calls for more than calm; 0 if it is not. The dwell begins
// when the forecast ends: otherwise an incident that the forecast opened in a
// table with room would end at the next observation, and with it all that it learned.
func (l *Limits) lowSince(s *State, o *Observation, a *Assessment) BootTime {
	soon := a.fullWithin(l.Levels.HighForecast) ||
		a.Fullness >= l.Levels.ElevatedForecastFill && a.fullWithin(l.Levels.ElevatedForecast)
	switch {
	case a.Fullness >= l.Levels.ElevatedLeave, soon && o.Table.Max != 0:
		return 0
	case s.LowSince == 0 || s.LowSince > o.Now:
		return o.Now
	}
	return s.LowSince
}

// Interval returns how long to wait before the next observation: the nearer
// the limit at the worst rate seen, the sooner, within the bounds of the level.
func (l *Limits) Interval(a *Assessment) time.Duration {
	most := l.Sampling.Calm
	if a.Level >= High {
		most = l.Sampling.High
	}
	if a.Level == Exhausted && (a.headroom() == 0 || l.dropping(a)) {
		return l.Sampling.Min
	}
	worst := a.Trend.Worst
	if worst <= 0 || a.Observation.Table.Max == 0 {
		return most
	}
	// A quarter of the time to full at the worst rate leaves room for the
	// sample after next.
	seconds := float64(a.headroom()) / worst / 4
	if seconds >= most.Seconds() {
		return most
	}
	return max(time.Duration(seconds*float64(time.Second)), l.Sampling.Min)
}
