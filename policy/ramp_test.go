package policy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

// A ramp that stays within three quarters of the budget loses no packet, for any
// class of entries and any slope of at least 20 s.
func TestRampsThatFitLoseNothing(t *testing.T) {
	l := policy.Defaults()
	const budget = 660_000 // entries: 3 % of 8 GiB, at 386 bytes each
	for _, class := range []tablesim.Class{tablesim.TCP, tablesim.TCPIdle, tablesim.TCPShort, tablesim.UDPReplied, tablesim.UDPUnreplied} {
		for _, climb := range []time.Duration{20 * time.Second, time.Minute, 5 * time.Minute, time.Hour} {
			for _, start := range []uint64{32768, 65536, 262144} {
				t.Run(fmt.Sprintf("%s from %d in %s", class, start, climb), func(t *testing.T) {
					t.Parallel()
					lives := 120 * time.Second
					if class == tablesim.UDPUnreplied {
						lives = 30 * time.Second
					}
					peak := 2 * 0.7 * budget / min(climb, 2*lives).Seconds() / 2
					s := &tablesim.Scenario{
						Name: "ramp", Run: climb, Noise: 500,
						Machine: tablesim.Machine{
							Memory: 8 << 30, Available: 6 << 30, Kernel: tablesim.Release{Major: 6, Minor: 1}, Max: start, Buckets: 262144,
						},
						Loads: []tablesim.Load{
							{For: climb, Class: class, To: peak, Lasting: class.Duration()},
							// Insert conflicts are ordinary on a gateway and must not hide the ramp.
							{For: climb, Class: tablesim.Clash, Rate: 5, To: 5},
						},
					}
					if lives < climb || class == tablesim.TCPIdle || class == tablesim.TCP {
						// The table ends with the arrivals of one lifetime.
						s.Loads[0].To = 0.7 * budget / max(lives, climb).Seconds()
					}
					if class == tablesim.TCPIdle || class == tablesim.TCP {
						s.Loads[0].To = 2 * 0.7 * budget / climb.Seconds()
					}
					r := tablesim.Run(s, &l)
					if lost := r.Policy.Losses; lost.Packets() > 0 || lost.EarlyDropped > 0 {
						t.Errorf("lost %+v, of %d entries at the peak", lost, r.Policy.PeakEntries)
						for i := range r.Timeline {
							t.Logf("%8s %s", r.Timeline[i].At, r.Timeline[i].Text)
						}
					}
				})
			}
		}
	}
}

func TestInsertConflictsDoNotHideAForecast(t *testing.T) {
	l := policy.Defaults()
	raised := func(clashes float64) (at time.Duration) {
		s := &tablesim.Scenario{
			Name: "clashes", Run: time.Minute,
			Machine: tablesim.Machine{Memory: 8 << 30, Available: 6 << 30, Kernel: tablesim.Release{Major: 6, Minor: 1}, Max: 65536, Buckets: 262144},
			Loads: []tablesim.Load{
				{For: time.Minute, Class: tablesim.Clash, Rate: clashes, To: clashes},
				{At: 20 * time.Second, For: 40 * time.Second, Class: tablesim.TCPIdle, Rate: 3000, To: 3000},
			},
		}
		tablesim.Simulate(s, &l, func(turn *tablesim.Iteration) bool {
			at = turn.At
			return !turn.Plan.Acts() || turn.Plan.Actions[0].Type != policy.RaiseMax
		})
		return at
	}
	if with, without := raised(50), raised(0); with != without {
		t.Errorf("max is raised after %s, and after %s without insert conflicts", with, without)
	}
}

func TestAClockThatWentBackKeepsOldActsOld(t *testing.T) {
	l := policy.Defaults()
	s := policy.State{Trend: policy.Trend{At: policy.BootTime(100 * time.Hour)}, ActsNext: 12}
	for i := range 12 {
		s.Acts[i] = policy.BootTime(time.Duration(i+1) * time.Hour)
	}
	o := steadyObservations()["calm"]
	o.Now = policy.BootTime(time.Minute)
	s = decide(&l, &s, &o) // the policy observes that the clock went back
	o.Now, o.Table.Entries = o.Now.Add(time.Second), 97_000
	a := l.Assess(&s, &o)
	if p := l.Decide(&s, &a); !p.Acts() {
		t.Errorf("acts of days ago: held for %q", p.Held)
	}
}

func TestMaxFollowsAFloodUpToTheBudget(t *testing.T) {
	l := policy.Defaults()
	s := &tablesim.Scenario{
		Name: "flood", Run: 30 * time.Second,
		Machine: tablesim.Machine{Memory: 8 << 30, Available: 6 << 30, Kernel: tablesim.Release{Major: 6, Minor: 1}, Max: 65536, Buckets: 262144},
		Loads:   []tablesim.Load{{At: 20 * time.Second, For: 10 * time.Second, Class: tablesim.TCPIdle, Rate: 500_000, To: 500_000}},
	}
	if r := tablesim.Run(s, &l); r.Policy.Max < 600_000 {
		t.Errorf("max is %d at the end, and the budget 660,000", r.Policy.Max)
	}
}
