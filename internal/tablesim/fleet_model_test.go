package tablesim

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// A Fleet is many hosts to which the same happens. They differ as the hosts of
// one role do: in ordinary load, memory, the rhythm of their gc, the moment
// within a second in which they look, and their phase (policy.JitterLimits).
type Fleet struct {
	// Scenario is what happens; loads and entries from its begin are the
	// ordinary ones, the others hit every host alike.
	Scenario *Scenario
	// Spread is by how much ordinary load and memory differ, up and down.
	Spread conntrack.Permyriad
	Seed   uint64
}

// Host returns the scenario of one host. The same number is the same host.
func (f *Fleet) Host(number int) *Scenario {
	odds := rand.New(rand.NewPCG(f.Seed, uint64(number)))
	differ := func() float64 { return 1 + (2*odds.Float64()-1)*float64(f.Spread)/10000 }
	s := *f.Scenario
	s.Seed = odds.Uint64()
	s.Machine.GC = time.Duration(odds.Int64N(int64(gcFirst)))
	memory, ordinary := differ(), differ()
	s.Machine.Memory = uint64(float64(s.Machine.Memory) * memory)
	s.Machine.Available = uint64(float64(s.Machine.Available) * memory)
	s.Start = slices.Clone(s.Start)
	for i := range s.Start {
		s.Start[i].Entries = uint64(float64(s.Start[i].Entries) * ordinary)
	}
	// Every host looks once a second, and none knows when the others do.
	phase := time.Duration(odds.Int64N(int64(time.Second)))
	s.Loads = slices.Clone(s.Loads)
	for i := range s.Loads {
		l := &s.Loads[i]
		if l.At == 0 {
			l.Rate, l.To = l.Rate*ordinary, l.To*ordinary
			continue
		}
		l.At += phase
	}
	s.Machine.Jitter = conntrack.Permyriad(odds.Uint32N(10000))
	return &s
}

// A Crowd is when the hosts of a fleet did a thing.
type Crowd struct {
	// Hosts counts those that did it at all, Acts how often all of them did.
	Hosts int `json:"hosts"`
	Acts  int `json:"acts"`
	// First and Last are the earliest and the latest, Middle is how long the
	// middle half of all acts took.
	First  time.Duration `json:"first_ns"`
	Last   time.Duration `json:"last_ns"`
	Middle time.Duration `json:"middle_ns"`
	// Peak is the most acts within one second, and PeakAt when that was.
	Peak   int           `json:"peak"`
	PeakAt time.Duration `json:"peak_at_ns"`
}

// Acts are when the hosts of a part of a fleet acted, by kind.
type Acts [policy.NumActionTypes][]time.Duration

// Play plays the hosts from one number to before another, and adds their acts
// to what is known of others. It returns how many packets they lost.
func (f *Fleet) Play(l *policy.Limits, from, to int, acts *Acts, hosts *[policy.NumActionTypes]int) (lost uint64) {
	for number := from; number < to; number++ {
		var did [policy.NumActionTypes]bool
		s := f.Host(number)
		var packets uint64
		Simulate(s, l, func(t *Iteration) bool {
			packets = t.Host.losses.Packets()
			if t.Plan.Acts() {
				kind := t.Plan.Actions[0].Type
				did[kind] = true
				// The phase belongs to the host, not to the load: on a common
				// clock the load came to all at once.
				acts[kind] = append(acts[kind], t.At-f.phase(s))
			}
			return true
		})
		lost += packets
		for kind, yes := range did {
			if yes {
				hosts[kind]++
			}
		}
	}
	return lost
}

// phase is by how much the clock of a host's scenario is behind.
func (f *Fleet) phase(s *Scenario) time.Duration {
	for i := range s.Loads {
		if at := f.Scenario.Loads[i].At; at > 0 {
			return s.Loads[i].At - at
		}
	}
	return 0
}

// Gather says how bunched acts are.
func Gather(at []time.Duration, hosts int) Crowd {
	if len(at) == 0 {
		return Crowd{}
	}
	at = slices.Clone(at)
	slices.Sort(at)
	n := len(at)
	c := Crowd{Hosts: hosts, Acts: n, First: at[0], Last: at[n-1], Middle: at[n*3/4] - at[n/4]}
	for from, to := 0, 0; to < n; to++ {
		for at[to]-at[from] >= time.Second {
			from++
		}
		if to-from+1 > c.Peak {
			c.Peak, c.PeakAt = to-from+1, at[from]
		}
	}
	return c
}
