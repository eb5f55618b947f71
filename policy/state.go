package policy

import (
	"encoding/json"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// State is what one table's decisions need from before. The zero State is
// empty and a valid start. It is a value: Next returns another one.
type State struct {
	Level Level `json:"level"`
	// Since is since when the table has been watched without a break: how long
	// an entry has been idle is proven by the timeouts seen meanwhile.
	Since BootTime `json:"since,omitzero"`
	// LowSince is since when the fullness has been below the threshold that
	// leads back to calm, CalmSince since when the level has been calm, and
	// IncidentSince since when it has not.
	LowSince      BootTime `json:"low_since,omitzero"`
	CalmSince     BootTime `json:"calm_since,omitzero"`
	IncidentSince BootTime `json:"incident_since,omitzero"`
	Trend         Trend    `json:"trend,omitzero"`
	// Records remember the acts of each kind in this incident.
	Records Records `json:"records,omitzero"`
	// Acts are the times of the latest acts, a ring; ActsNext is where the
	// next one goes.
	Acts     BootTimes `json:"acts,omitzero"`
	ActsNext uint8     `json:"acts_next,omitempty"`
	LastAct  BootTime  `json:"last_act,omitzero"`
	// SafetyPauseUntil is when the breaker closes again, SafetyPause how long
	// it was open the last time.
	SafetyPauseUntil BootTime      `json:"hands_off_until,omitzero"`
	SafetyPause      time.Duration `json:"hands_off_pause_ns,omitempty"`
	// PausedUntil is when a person's pause ends.
	PausedUntil BootTime `json:"paused_until,omitzero"`
	// LastResize and LastRestore are the last attempts of those.
	LastResize  BootTime `json:"last_resize,omitzero"`
	LastRestore BootTime `json:"last_restore,omitzero"`
	// Max, Buckets and Timeouts are the values that ctwarden wrote.
	Max      Knob  `json:"max,omitzero"`
	Buckets  Knob  `json:"buckets,omitzero"`
	Timeouts Knobs `json:"timeouts,omitzero"`
}

// A Knob is a kernel value that ctwarden changed, or leaves to another program.
// The zero Knob was never touched.
type Knob struct {
	// Original is what stood there, Written what ctwarden wrote and read
	// back. Written 0 means that ctwarden has no claim on it.
	Original uint64 `json:"original,omitempty"`
	Written  uint64 `json:"written,omitempty"`
	// YieldUntil is until when the knob is left to the program that changed it,
	// YieldPause how long that was the last time.
	YieldUntil BootTime      `json:"yield_until,omitzero"`
	YieldPause time.Duration `json:"yield_pause_ns,omitempty"`
}

// yielded reports whether the knob is left to another program.
func (k *Knob) yielded(l *Limits, a *Assessment) bool {
	return k.YieldUntil != 0 && a.Observation.Now < k.YieldUntil.Add(l.jitter(a, k.YieldPause))
}

// Knobs holds a Knob for each timeout.
type Knobs [conntrack.NumTimeouts]Knob

// MarshalJSON writes the knobs that were touched, by name.
func (k Knobs) MarshalJSON() ([]byte, error) {
	touched := make(map[string]Knob)
	for t := conntrack.TCPSynSent; t < conntrack.NumTimeouts; t++ {
		if k[t] != (Knob{}) {
			touched[t.String()] = k[t]
		}
	}
	return json.Marshal(touched)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (k *Knobs) UnmarshalJSON(text []byte) error {
	var touched map[string]Knob
	if err := json.Unmarshal(text, &touched); err != nil {
		return err
	}
	*k = Knobs{}
	for name, knob := range touched {
		t, err := conntrack.ParseTimeout(name)
		if err != nil {
			return err
		}
		k[t] = knob
	}
	return nil
}

// A Record holds the acts of one kind within an incident.
type Record struct {
	At   BootTime `json:"at,omitzero"`
	Acts uint32   `json:"acts,omitempty"`
	// Waiting is true while the effect of the last act is not known, and
	// WaitUntil is when it may be judged. An act that was only planned waits
	// as well, so that it is not planned again at once.
	Waiting   bool     `json:"waiting,omitempty"`
	WaitUntil BootTime `json:"wait_until,omitzero"`
	Would     bool     `json:"told,omitempty"`
	// Before is the readings when the act was planned, Base those of the first
	// observation afterwards. To is what was to be written, Changed what the
	// outcome counted.
	Before  Readings `json:"before,omitzero"`
	Base    Readings `json:"base,omitzero"`
	To      uint64   `json:"to,omitempty"`
	Changed uint64   `json:"changed,omitempty"`
	// Failures counts the acts without effect; at Verify.MaxFailures the kind is
	// banned for the incident.
	Failures uint8 `json:"strikes,omitempty"`
	Banned   bool  `json:"banned,omitempty"`
}

// Records holds a Record for each kind of action.
type Records [NumActionTypes]Record

// MarshalJSON writes the kinds that have a record, by name.
func (r Records) MarshalJSON() ([]byte, error) {
	used := make(map[string]Record)
	for t := range r {
		if r[t] != (Record{}) {
			used[ActionType(t).String()] = r[t]
		}
	}
	return json.Marshal(used)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Records) UnmarshalJSON(text []byte) error {
	var used map[ActionType]Record
	if err := json.Unmarshal(text, &used); err != nil {
		return err
	}
	*r = Records{}
	for t, record := range used {
		r[t] = record
	}
	return nil
}

// BootTimes is a ring of times; zero times are empty places.
type BootTimes [MaxActs]BootTime

// MarshalJSON writes the ring up to its last used place.
func (m BootTimes) MarshalJSON() ([]byte, error) {
	n := len(m)
	for n > 0 && m[n-1] == 0 {
		n--
	}
	return json.Marshal(m[:n])
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (m *BootTimes) UnmarshalJSON(text []byte) error {
	var used []BootTime
	if err := json.Unmarshal(text, &used); err != nil {
		return err
	}
	*m = BootTimes{}
	copy(m[:], used)
	return nil
}

// within counts the times less than d before now.
func (m *BootTimes) within(now BootTime, d time.Duration) int {
	n := 0
	for _, at := range m {
		if at != 0 && now.Since(at) < d {
			n++
		}
	}
	return n
}

// Readings are the numbers that an effect is judged by.
type Readings struct {
	At       BootTime            `json:"at"`
	Entries  uint64              `json:"entries"`
	Max      uint64              `json:"max"`
	Fullness conntrack.Permyriad `json:"fullness"`
	Rate     float64             `json:"rate"`
	Counters conntrack.Counters  `json:"counters"`
}

func (a *Assessment) readings() Readings {
	o := &a.Observation
	return Readings{
		At: o.Now, Entries: o.Table.Entries, Max: o.Table.Max,
		Fullness: a.Fullness, Rate: a.Trend.Rate(), Counters: o.Table.Counters,
	}
}
