package policy

import "time"

// A BootTime is the time since the machine booted, suspend included
// (CLOCK_BOOTTIME). Steps of the wall clock do not move it. The zero BootTime
// means never.
type BootTime time.Duration

// Add returns the time d later.
func (m BootTime) Add(d time.Duration) BootTime { return m + BootTime(d) }

// Since returns the time from earlier to m. A time in the future,
// which a state from another boot can hold, counts as now: it may delay, never
// freeze.
func (m BootTime) Since(earlier BootTime) time.Duration {
	if earlier > m {
		return 0
	}
	return time.Duration(m - earlier)
}

// String returns the time as a duration since boot, as in "1h2m3.5s".
func (m BootTime) String() string { return time.Duration(m).String() }

// MarshalText implements encoding.TextMarshaler; no precision is lost.
func (m BootTime) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *BootTime) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return err
	}
	*m = BootTime(d)
	return nil
}
