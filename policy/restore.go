package policy

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// restore plans one step back for one shortened timeout, after enough calm: at
// most double, at most the original. A step that would fill the table again is
// held.
func (l *Limits) restore(s *State, a *Assessment) ([]Action, Hold) {
	o := &a.Observation
	t := s.shortened()
	if t == conntrack.NoTimeout {
		return nil, NotHeld
	}
	wait := l.Restore.Step << min(s.Records[RestoreTimeout].Failures, 6)
	wait += l.jitter(a, wait)
	calm := l.Restore.Calm + l.jitter(a, l.Restore.Calm)
	switch {
	case !o.Kernel.TimeoutsWritable:
		return nil, HeldReadOnly
	case s.CalmSince == 0 || o.Now.Since(s.CalmSince) < calm:
		return nil, HeldAwaiting
	case s.LastRestore != 0 && o.Now.Since(s.LastRestore) < wait:
		return nil, HeldAwaiting
	}
	k := &s.Timeouts[t]
	to := min(k.Written*2, k.Original)
	// The table grows with the entries that have this timeout. The growth
	// itself must not count as an incident, which would shorten
	// the timeout again, and so on for as long as the load lasts.
	live := o.entriesUnder(t)
	grown := o.Table.Entries - live + saturatingMul(live, to)/k.Written
	if conntrack.Share(grown, o.Table.Max) >= min(l.Levels.ElevatedEnter, l.Levels.ElevatedForecastFill) {
		return nil, HeldWouldRefill
	}
	return []Action{{
		Type: RestoreTimeout, Knob: t, From: k.Written, To: to, Reason: ReasonCalm,
	}}, NotHeld
}

// shortened returns the shortened timeout that was restored least: the one
// that is furthest below its original. NoTimeout if all are whole.
func (s *State) shortened() conntrack.Timeout {
	found, least := conntrack.NoTimeout, conntrack.Permyriad(10000)
	for t := conntrack.TCPSynSent; t < conntrack.NumTimeouts; t++ {
		k := &s.Timeouts[t]
		if k.Written == 0 {
			continue
		}
		if share := conntrack.Share(k.Written, k.Original); share < least {
			found, least = t, share
		}
	}
	return found
}

// breaker holds a plan that acts when there were too many acts already, and
// opens the breaker. Giving back does not count.
func (l *Limits) breaker(s *State, a *Assessment, p *Plan) {
	if !p.Acts() || p.Actions[0].Type.Restores() {
		return
	}
	now := a.Observation.Now
	open := now < s.SafetyPauseUntil.Add(l.jitter(a, s.SafetyPause))
	if !open && s.Acts.within(now, l.Breaker.Window) < int(min(l.Breaker.Acts, MaxActs)) {
		return
	}
	p.Actions, p.Held, p.Trips = nil, HeldBreaker, !open
}

// openBreaker opens the breaker at now, for twice as long as the last time; after a
// long time without, it begins anew.
func (l *Limits) openBreaker(s *State, now BootTime) {
	pause := l.Breaker.Pause
	if s.SafetyPause > 0 && now.Since(s.SafetyPauseUntil) < l.Breaker.MaxPause {
		pause = min(s.SafetyPause*2, max(l.Breaker.MaxPause, l.Breaker.Pause))
	}
	s.SafetyPause, s.SafetyPauseUntil = pause, now.Add(pause)
}

// Resume closes the breaker and ends a pause, on a person's request.
func (s *State) Resume() {
	s.SafetyPauseUntil, s.SafetyPause, s.PausedUntil = 0, 0, 0
}

// ReleaseClaims gives up every claim on kernel values: they were put back, or went
// with the module. A value that another program changed stays as it is.
func (s *State) ReleaseClaims() {
	s.Max.release()
	s.Buckets.release()
	for t := range s.Timeouts {
		s.Timeouts[t].release()
	}
}

func (k *Knob) release() { k.Original, k.Written = 0, 0 }

// Pause holds every decision until d after now.
func (s *State) Pause(now BootTime, d time.Duration) { s.PausedUntil = now.Add(d) }
