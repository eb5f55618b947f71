package policy

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// An ExternalChange is how another program changed a value that ctwarden had written.
type ExternalChange uint8

// How another program changed a value.
const (
	// ExternallyRaised max or buckets: adopted as the value to work from.
	ExternallyRaised ExternalChange = iota + 1
	// ExternallyChanged otherwise: the knob is left alone for a while.
	ExternallyChanged
)

var externalChangeNames = []string{"none", "raised", "changed"}

// String returns the name used in the audit log.
func (f ExternalChange) String() string { return nameOf(externalChangeNames, f) }

// MarshalText implements encoding.TextMarshaler.
func (f ExternalChange) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *ExternalChange) UnmarshalText(text []byte) (err error) {
	*f, err = parseName[ExternalChange](externalChangeNames, text, "foreign change")
	return err
}

// An Override is a value that is not what ctwarden wrote.
type Override struct {
	// Type names the kind of action whose work was overridden, and Knob the
	// timeout if it is one.
	Type ActionType        `json:"type"`
	Knob conntrack.Timeout `json:"knob,omitzero"`
	// Wrote is what ctwarden wrote, Found what stands there now, Original
	// what stood there first.
	Wrote    uint64         `json:"wrote"`
	Found    uint64         `json:"found"`
	Original uint64         `json:"original"`
	Change   ExternalChange `json:"foreign"`
	// Yield is how long the knob is left alone; 0 for Raised.
	Yield time.Duration `json:"yield_ns,omitempty"`
}

// overrides compares what stands in the kernel with what ctwarden wrote.
func (l *Limits) overrides(s *State, a *Assessment) []Override {
	o := &a.Observation
	var found []Override
	if ov := l.override(&s.Max, o.Table.Max, o.Now); ov.Change != 0 {
		ov.Type = RaiseMax
		found = append(found, ov)
	}
	if ov := l.override(&s.Buckets, o.Table.Buckets, o.Now); ov.Change != 0 {
		ov.Type = ResizeHash
		found = append(found, ov)
	}
	for t := conntrack.TCPSynSent; t < conntrack.NumTimeouts; t++ {
		ov := l.override(&s.Timeouts[t], uint64(o.Timeouts[t]), o.Now)
		if ov.Change == 0 {
			continue
		}
		ov.Type, ov.Knob = ShortenTimeout, t
		ov.Change, ov.Yield = ExternallyChanged, l.yield(&s.Timeouts[t], o.Now)
		found = append(found, ov)
	}
	return found
}

func (l *Limits) override(k *Knob, value uint64, now BootTime) Override {
	if k.Written == 0 || value == k.Written {
		return Override{}
	}
	ov := Override{Wrote: k.Written, Found: value, Original: k.Original, Change: ExternallyRaised}
	if value < k.Written {
		ov.Change, ov.Yield = ExternallyChanged, l.yield(k, now)
	}
	return ov
}

// yield returns how long to leave a knob alone: twice as long as last time, if
// that was not long ago.
func (l *Limits) yield(k *Knob, now BootTime) time.Duration {
	if k.YieldPause == 0 || now.Since(k.YieldUntil) >= l.Backoff.MaxPause {
		return l.Backoff.Pause
	}
	return min(k.YieldPause*2, max(l.Backoff.MaxPause, l.Backoff.Pause))
}

// knob returns the knob that an action or an override is about; nil for
// actions on entries.
func (s *State) knob(t ActionType, timeout conntrack.Timeout) *Knob {
	switch t {
	case RaiseMax, RestoreMax:
		return &s.Max
	case ResizeHash:
		return &s.Buckets
	case ShortenTimeout, RestoreTimeout:
		return &s.Timeouts[timeout]
	}
	return nil
}

// recordOverride gives up the claim on a knob.
func (s *State) recordOverride(ov *Override, now BootTime) {
	k := s.knob(ov.Type, ov.Knob)
	*k = Knob{YieldPause: k.YieldPause}
	if ov.Yield > 0 {
		k.YieldPause, k.YieldUntil = ov.Yield, now.Add(ov.Yield)
	}
}
