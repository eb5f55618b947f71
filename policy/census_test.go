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
		"calm: never due": {Calm, HeldCalm, 0, false},
		"calm, a timeout waits to be restored: not due":             {Calm, HeldAwaiting, 0, false},
		"calm, a restore would refill the table: due":               {Calm, HeldWouldRefill, 0, true},
		"calm, a restore would refill: not due within ten minutes":  {Calm, HeldWouldRefill, 10*time.Minute - 1, false},
		"calm, a restore would refill: due again after ten minutes": {Calm, HeldWouldRefill, 10 * time.Minute, true},
		"elevated: due whatever the plan is held for":               {Elevated, HeldEnough, 0, true},
		"exhausted: not due within ten seconds":                     {Exhausted, NotHeld, 10*time.Second - 1, false},
		"high: due again after ten seconds":                         {High, HeldBudget, 10 * time.Second, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			now := BootTime(time.Hour)
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
		"time_wait: every closing entry, for each reaches TIME_WAIT": {seen, 0, conntrack.TCPTimeWait, 2_000},
		"fin_wait: every closing entry":                              {seen, 0, conntrack.TCPFinWait, 2_000},
		"syn_sent: every half-open entry":                            {seen, 0, conntrack.TCPSynSent, 3_000},
		"udp: every entry that is not assured":                       {seen, 0, conntrack.UDP, 10_000},
		"udp_timeout_stream: all, no census counts these entries":    {seen, 0, conntrack.UDPStream, all},
		"established: all, no census counts these entries":           {seen, 0, conntrack.TCPEstablished, all},
		"a sample is scaled to the table":                            {sample, 0, conntrack.TCPTimeWait, 2_000},
		"a sample of less than 1,000 is ignored":                     {census.Summary{Seen: 999, Sampled: true}, 0, conntrack.TCPTimeWait, all},
		"a census of 30 s ago counts":                                {seen, 30 * time.Second, conntrack.TCPTimeWait, 2_000},
		"an older census is ignored":                                 {seen, 30*time.Second + 1, conntrack.TCPTimeWait, all},
		"an empty census is ignored":                                 {census.Summary{}, 0, conntrack.TCPTimeWait, all},
		"entries that the dump missed may depend on it": {
			census.Summary{Seen: 35_000, Closing: 1_000}, 0, conntrack.TCPTimeWait, 6_140, // 2.85 % of all, and 5,000
		},
		"the census saw more entries than the table has": {census.Summary{Seen: 90_000, Closing: 80_000}, 0, conntrack.TCPTimeWait, all},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := calmObservation()
			setEntries(&o, all)
			o.Census, o.CensusAt = test.census, o.Now.Add(-test.ago)
			if got := o.entriesUnder(test.timeout); got != test.want {
				t.Errorf("%d entries, want %d", got, test.want)
			}
		})
	}
	t.Run("no census", func(t *testing.T) {
		o := calmObservation()
		o.Census = seen
		if got := o.entriesUnder(conntrack.TCPTimeWait); got != o.Table.Entries {
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
		"no census":                           {census.Summary{}, HeldWouldRefill},
		"few entries depend on it":            {census.Summary{Seen: 40_000, Closing: 2_000}, NotHeld},
		"at most 49,998 entries depend on it": {census.Summary{Seen: 40_000, Closing: 9_999}, NotHeld},
		"so many entries depend on it that the table would refill": {census.Summary{Seen: 40_000, Closing: 12_000}, HeldWouldRefill},
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
