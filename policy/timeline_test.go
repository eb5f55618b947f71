package policy_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

// A story is what a scenario came to, in the words that a test asks for.
type story struct {
	*tablesim.Result
	acts   []policy.Action
	causes []policy.Cause
	holds  []policy.Hold
	yields []time.Duration
}

func tell(t *testing.T, name string) story {
	t.Helper()
	s, err := tablesim.Ship(name)
	if err != nil {
		t.Fatal(err)
	}
	l := policy.Defaults()
	r := story{Result: tablesim.Run(s, &l)}
	for i := range r.Timeline {
		line := &r.Timeline[i]
		switch line.Kind {
		case tablesim.Acted:
			r.acts = append(r.acts, line.Outcome.Action)
		case tablesim.CauseIs:
			r.causes = append(r.causes, line.Cause)
		case tablesim.Held:
			r.holds = append(r.holds, line.Hold)
		case tablesim.Override:
			r.yields = append(r.yields, line.Override.Yield)
		}
	}
	return r
}

// did reports whether an act of the kind was made, on the timeout if one is
// named.
func (s *story) did(kind policy.ActionType, timeout conntrack.Timeout) bool {
	return slices.ContainsFunc(s.acts, func(act policy.Action) bool {
		return act.Type == kind && act.Knob == timeout
	})
}

func TestStories(t *testing.T) {
	none := conntrack.NoTimeout
	tests := map[string]struct {
		scenario string
		holds    func(*story) bool
	}{
		"short connections are churn": {"case_a_compute_node", func(s *story) bool {
			return slices.Contains(s.causes, policy.Churn)
		}},
		"churn: max is raised, time_wait shortened, what is closing aged": {"case_a_compute_node", func(s *story) bool {
			return s.did(policy.RaiseMax, none) && s.did(policy.ShortenTimeout, conntrack.TCPTimeWait) && s.did(policy.AgeEntries, none)
		}},
		"churn: established is not touched": {"case_a_compute_node", func(s *story) bool {
			return !s.did(policy.ShortenTimeout, conntrack.TCPEstablished) && !slices.ContainsFunc(s.acts, func(act policy.Action) bool {
				return act.Class == policy.Established
			})
		}},
		"churn: nothing is lost, and time_wait is what it was": {"case_a_compute_node", func(s *story) bool {
			return s.Policy.Losses.Packets() == 0 && s.acts[len(s.acts)-1].To == 120
		}},
		"a ramp that fits the budget loses nothing": {"ramp", func(s *story) bool {
			return s.Policy.Losses.Packets() == 0 && s.Nothing.Losses.Packets() > 0 && s.Cron.Losses.Packets() > 0
		}},
		"a flood of SYN is half-open": {"syn_flood", func(s *story) bool {
			return slices.Contains(s.causes, policy.HalfOpen) && s.did(policy.ShortenTimeout, conntrack.TCPSynRecv)
		}},
		"a scan is deleted when it has been idle": {"udp_scan", func(s *story) bool {
			return s.did(policy.DeleteEntries, none)
		}},
		"idle connections are stale or load, and never aged": {"established_idle_attack", func(s *story) bool {
			return !s.did(policy.AgeEntries, none) && s.Policy.Losses.Packets() == 0
		}},
		"clashes are held as what they are, and do not hide a burst": {"nat_burst", func(s *story) bool {
			return slices.Contains(s.holds, policy.HeldInsertFailed) && s.did(policy.RaiseMax, none) && s.Policy.Losses.Packets() == 0
		}},
		"a full neighbour is named and max is not raised for it": {"netns_neighbour", func(s *story) bool {
			return slices.Contains(s.holds, policy.HeldElsewhere) && !s.did(policy.RaiseMax, none)
		}},
		"a table without a limit is held as that": {"max_zero", func(s *story) bool {
			return slices.Contains(s.holds, policy.HeldUnlimited)
		}},
		"another tuner is yielded to, each time for twice as long": {"two_tuners_fighting", func(s *story) bool {
			return len(s.yields) > 1 && s.yields[0] == time.Hour && s.yields[1] == 2*time.Hour
		}},
		"a max that an administrator lowers stays where it is for an hour": {"max_lowered_by_admin", func(s *story) bool {
			return len(s.yields) == 1 && slices.Contains(s.holds, policy.HeldYielded)
		}},
		"a full table is not taken for lack of memory": {"budget_exhausted", func(s *story) bool {
			return s.Policy.Losses.Full > 0 && s.Policy.Losses.NoMemory == 0 && !slices.Contains(s.causes, policy.NoMemory)
		}},
		"nor after a reboot": {"reboot_mid_change", func(s *story) bool {
			return s.Policy.Losses.Full > 0 && !slices.Contains(s.causes, policy.NoMemory)
		}},
		"where the budget ends it says so": {"budget_exhausted", func(s *story) bool {
			return slices.Contains(s.holds, policy.HeldBudget)
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tell(t, test.scenario)
			if !test.holds(&s) {
				t.Errorf("not so: causes %v, holds %v, yields %v, lost %+v, acts:", s.causes, s.holds, s.yields, s.Policy.Losses)
				for i := range s.acts {
					t.Logf("%s", s.acts[i].Sentence())
				}
			}
		})
	}
}

// A ramp that stays within three quarters of the budget loses no packet,
// whatever it is made of and however steep, as long as it takes a few seconds.
func TestRampsThatFitLoseNothing(t *testing.T) {
	l := policy.Defaults()
	const budget = 660_000 // of 8 GiB, at 386 bytes an entry
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
							{For: climb, Class: class, To: peak, Lasting: class.Lasts()},
							// What is ordinary on a gateway must not hide the ramp.
							{For: climb, Class: tablesim.Clash, Rate: 5, To: 5},
						},
					}
					if lives < climb || class == tablesim.TCPIdle || class == tablesim.TCP {
						// In the end there are as many as arrived in a lifetime.
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

func TestClashesDoNotHideAForecast(t *testing.T) {
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
		tablesim.Walk(s, &l, func(turn *tablesim.Turn) bool {
			at = turn.At
			return !turn.Plan.Acts() || turn.Plan.Actions[0].Type != policy.RaiseMax
		})
		return at
	}
	if with, without := raised(50), raised(0); with != without {
		t.Errorf("max is raised after %s, and after %s without the clashes", with, without)
	}
}

func TestAClockThatWentBackDoesNotMakeOldActsRecent(t *testing.T) {
	l := policy.Defaults()
	s := policy.State{Trend: policy.Trend{At: policy.Moment(100 * time.Hour)}, ActsNext: 12}
	for i := range 12 {
		s.Acts[i] = policy.Moment(time.Duration(i+1) * time.Hour)
	}
	o := steady()["calm"]
	o.Now = policy.Moment(time.Minute)
	s = decide(&l, &s, &o) // the clock is seen to go back
	o.Now, o.Table.Entries = o.Now.Add(time.Second), 97_000
	a := l.Assess(&s, &o)
	if p := l.Decide(&s, &a); !p.Acts() {
		t.Errorf("held for %q by acts of days ago", p.Held)
	}
}

func TestAFloodThatFillsEachRaiseAtOnceIsFollowedToTheBudget(t *testing.T) {
	l := policy.Defaults()
	s := &tablesim.Scenario{
		Name: "flood", Run: 30 * time.Second,
		Machine: tablesim.Machine{Memory: 8 << 30, Available: 6 << 30, Kernel: tablesim.Release{Major: 6, Minor: 1}, Max: 65536, Buckets: 262144},
		Loads:   []tablesim.Load{{At: 20 * time.Second, For: 10 * time.Second, Class: tablesim.TCPIdle, Rate: 500_000, To: 500_000}},
	}
	if r := tablesim.Run(s, &l); r.Policy.Max < 600_000 {
		t.Errorf("max ends at %d, and the budget is 660,000", r.Policy.Max)
	}
}
