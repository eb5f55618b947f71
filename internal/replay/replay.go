package replay

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

// A Result is a recorded incident and its simulations. Its JSON is a contract:
// docs/incidents.md.
type Result struct {
	Incident string `json:"incident"`
	// Recorded are the figures of the log.
	Recorded Recorded `json:"recorded"`
	// Model is the model under the limits in force then; Assumed is set if the log
	// lacks them and the model uses the defaults.
	Model   *tablesim.Result `json:"model"`
	Assumed bool             `json:"limits_assumed,omitempty"`
	// Other is the model under the other configuration.
	Other    *tablesim.Result   `json:"other"`
	Scenario *tablesim.Scenario `json:"scenario"`
}

// Recorded are figures of the log: packets lost, entries evicted by the kernel,
// the most entries and max, and the actions that were not only restores.
type Recorded struct {
	Lost    uint64 `json:"lost"`
	Evicted uint64 `json:"evicted"`
	Peak    uint64 `json:"peak"`
	Max     uint64 `json:"max"`
	Acts    int    `json:"acts"`
}

// maxIntervals bounds the detail of the arrivals.
const maxIntervals = 120

// ErrTooShort is returned for an incident with too few readings to simulate.
var ErrTooShort = errors.New("the log holds too few readings of this incident")

// Run simulates an incident under other limits. Actions that were only planned then
// are only planned in the model, too.
func Run(i *incident.Incident, other *policy.Limits) (*Result, error) {
	s, err := scenarioOf(i)
	if err != nil {
		return nil, err
	}
	then := policy.Defaults()
	if i.Limits != nil {
		then = *i.Limits
	} else {
		// Retention has removed the record that held them.
		then.NoHostWide = i.Counts.Would > 0
	}
	return &Result{
		Incident: i.ID, Assumed: i.Limits == nil, Scenario: s,
		Recorded: Recorded{i.Losses.Packets, i.Losses.Evicted, i.Peak.Entries, i.Last.Max, i.Counts.Done - i.Counts.Restored},
		Model:    tablesim.Run(s, &then), Other: tablesim.Run(s, other),
	}, nil
}

// scenarioOf makes a scenario of a recorded incident.
func scenarioOf(i *incident.Incident) (*tablesim.Scenario, error) {
	arrivals := i.Arrivals(maxIntervals)
	if len(arrivals) < 3 || i.HostContext.Memory.Total == 0 {
		return nil, fmt.Errorf("replay %s: %w", i.ID, ErrTooShort)
	}
	s := &tablesim.Scenario{
		Name: strings.ToLower(i.ID), Run: time.Duration(i.Last.At - i.First.At),
		Machine: tablesim.Machine{
			Memory: i.HostContext.Memory.Total, Available: i.HostContext.Memory.Available + i.First.Entries*i.HostContext.Budget.PerEntry,
			Max: i.Estimate().Max, Buckets: max(i.First.Buckets, 1), Timeouts: i.HostContext.Timeouts,
		},
	}
	s.Machine.Available = min(s.Machine.Available, s.Machine.Memory)
	if err := s.Machine.Kernel.UnmarshalText([]byte(shortRelease(i.Kernel))); err != nil {
		return nil, fmt.Errorf("replay %s: kernel %q: %w", i.ID, i.Kernel, err)
	}
	mix := i.Mix()
	for _, part := range [...]struct {
		class tablesim.Class
		share float64
	}{
		{tablesim.UDPUnreplied, mix.HalfOpen}, {tablesim.TCPShort, mix.Closing}, {tablesim.TCP, mix.Living},
	} {
		if n := uint64(math.Round(float64(i.First.Entries) * part.share)); n > 0 {
			s.Start = append(s.Start, tablesim.Start{Class: part.class, Entries: n})
		}
		for _, a := range arrivals {
			if rate := a.Number * part.share / a.For.Seconds(); rate >= 0.01 {
				s.Loads = append(s.Loads, tablesim.Load{At: a.At, For: a.For, Class: part.class, Rate: rate, To: rate, Lasting: connTime(part.class, s.Run)})
			}
		}
	}
	if len(s.Loads) == 0 {
		return nil, errors.New("replay: no connection arrived in this incident")
	}
	return s, nil
}

// connTime is how long a connection of the class has traffic: living ones
// outlast the incident.
func connTime(c tablesim.Class, run time.Duration) time.Duration {
	if c == tablesim.TCP {
		return run + time.Minute
	}
	return c.Duration()
}

// shortRelease returns the two numbers that a kernel release begins with; that
// of Debian 12 where there are none.
func shortRelease(release string) string {
	var major, minor int
	if n, err := fmt.Sscanf(release, "%d.%d", &major, &minor); n < 2 || err != nil {
		return "6.1"
	}
	return fmt.Sprintf("%d.%d", major, minor)
}
