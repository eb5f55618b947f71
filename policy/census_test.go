package policy

import (
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
)

func TestCensusDue(t *testing.T) {
	tests := map[string]struct {
		level Level
		held  Hold
		ago   time.Duration // since the last census; 0: none was taken
		want  bool
	}{
		"never in ordinary calm":                               {Calm, HeldCalm, 0, false},
		"nor while a lease waits for its calm":                 {Calm, HeldAwaiting, 0, false},
		"in calm when a restore is held for want of knowledge": {Calm, HeldWouldRefill, 0, true},
		"but not twice within ten minutes":                     {Calm, HeldWouldRefill, 10*time.Minute - 1, false},
		"again after ten":                                      {Calm, HeldWouldRefill, 10 * time.Minute, true},
		"from elevated up, whatever is held":                   {Elevated, HeldEnough, 0, true},
		"from elevated up not twice within ten seconds":        {Exhausted, NotHeld, 10*time.Second - 1, false},
		"from elevated up again after ten seconds":             {High, HeldBudget, 10 * time.Second, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			now := Moment(time.Hour)
			last := now.Add(-test.ago)
			if test.ago == 0 {
				last = 0
			}
			if got := CensusDue(test.level, test.held, last, now); got != test.want {
				t.Errorf("due %v, want %v", got, test.want)
			}
		})
	}
}

// The estimate is never too low: a restore may be held without need, and is
// never made on a guess.
func TestEntriesThatDependOnATimeout(t *testing.T) {
	const all = 40_000
	seen := census.Summary{Seen: all, Assured: 30_000, HalfOpen: 3_000, Closing: 2_000, TimeWait: 1_000, Established: 25_000}
	sample := census.Summary{Seen: 4_000, Sampled: true, Assured: 3_000, HalfOpen: 300, Closing: 200, TimeWait: 100, Established: 2_500}
	tests := map[string]struct {
		census  census.Summary
		ago     time.Duration
		timeout conntrack.Timeout
		want    uint64
	}{
		"time_wait: all that are closing, for they come to it": {seen, 0, conntrack.TCPTimeWait, 2_000},
		"fin_wait: the same":                      {seen, 0, conntrack.TCPFinWait, 2_000},
		"syn_sent: what is half open":             {seen, 0, conntrack.TCPSynSent, 3_000},
		"udp: what is not assured":                {seen, 0, conntrack.UDP, 10_000},
		"udp_timeout_stream: nobody counts those": {seen, 0, conntrack.UDPStream, all},
		"established: nor those that live by it":  {seen, 0, conntrack.TCPEstablished, all},
		"a sample speaks for the table":           {sample, 0, conntrack.TCPTimeWait, 2_000},
		"a sample of a few does not":              {census.Summary{Seen: 999, Sampled: true}, 0, conntrack.TCPTimeWait, all},
		"half a minute is fresh":                  {seen, 30 * time.Second, conntrack.TCPTimeWait, 2_000},
		"more is not":                             {seen, 30*time.Second + 1, conntrack.TCPTimeWait, all},
		"nothing was seen":                        {census.Summary{}, 0, conntrack.TCPTimeWait, all},
		"what the dump did not show may live by it": {
			census.Summary{Seen: 35_000, Closing: 1_000}, 0, conntrack.TCPTimeWait, 6_140, // 2.85 % of all, and 5,000
		},
		"more was seen than is there now": {census.Summary{Seen: 90_000, Closing: 80_000}, 0, conntrack.TCPTimeWait, all},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := calmObservation()
			setEntries(&o, all)
			o.Census, o.CensusAt = test.census, o.Now.Add(-test.ago)
			if got := o.livingBy(test.timeout); got != test.want {
				t.Errorf("%d entries, want %d", got, test.want)
			}
		})
	}
	t.Run("nobody has looked", func(t *testing.T) {
		o := calmObservation()
		o.Census = seen
		if got := o.livingBy(conntrack.TCPTimeWait); got != o.Table.Entries {
			t.Errorf("%d entries, want all", got)
		}
	})
}

// Among many live connections a restore waits for a census, and is then made or
// held for a reason.
func TestACensusDecidesAboutARestore(t *testing.T) {
	tests := map[string]struct {
		census census.Summary
		want   Hold
	}{
		"nobody has looked":            {census.Summary{}, HeldWouldRefill},
		"few entries live by it":       {census.Summary{Seen: 40_000, Closing: 2_000}, NotHeld},
		"just few enough: 49,998":      {census.Summary{Seen: 40_000, Closing: 9_999}, NotHeld},
		"so many that it would refill": {census.Summary{Seen: 40_000, Closing: 12_000}, HeldWouldRefill},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := calmObservation()
			setEntries(&o, 40_000)
			o.Timeouts[conntrack.TCPTimeWait] = 30
			var s State
			lease(30, 120, time.Hour/2)(&s)
			if o.Census = test.census; test.census.Seen > 0 {
				o.CensusAt = o.Now
			}
			if got := decide(Defaults(), s, o); got.Held != test.want {
				t.Errorf("held %q with %v, want %q", got.Held, got.Acts, test.want)
			}
		})
	}
}
