package incident

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/policy"
)

func TestEstimateWithoutChangesIsWhatWasCounted(t *testing.T) {
	i := Incident{Losses: Losses{Packets: 7, Evicted: 3}}
	want := Estimate{Known: true, NoRoom: Range{10, 10, 10}, Refused: Range{7, 7, 7}}
	if diff := cmp.Diff(want, i.Estimate()); diff != "" {
		t.Errorf("estimate (-want +got):\n%s", diff)
	}
}

func TestEstimateOfASteadyClimb(t *testing.T) {
	// 100 live connections a second come for 100 seconds; the limit of 2,000
	// was raised in time. 8,000 would have found no room.
	i := Incident{
		Counts: Counts{Done: 1}, Before: &Census{Summary: census.Summary{Seen: 100, Assured: 100, Established: 100}},
		Decisions: []Decision{{
			Kind: Acted, Action: &policy.Action{Type: policy.RaiseMax},
			Outcome: &policy.Outcome{Action: policy.Action{Type: policy.RaiseMax}, OK: true, Before: 2000, After: 20_000},
		}},
	}
	for n := range 101 {
		i.Curve = append(i.Curve, Point{At: policy.BootTime(time.Duration(n) * time.Second), Entries: uint64(n) * 100, Max: 20_000, Buckets: 2000})
	}
	i.First, i.Last = i.Curve[0], i.Curve[100]
	want := Estimate{Known: true, Max: 2000, NoRoom: Range{5600, 8000, 11200}, Refused: Range{5600, 8000, 11200}}
	if diff := cmp.Diff(want, i.Estimate()); diff != "" {
		t.Errorf("estimate (-want +got):\n%s", diff)
	}
	sum := 0.0
	arrivals := i.Arrivals(10)
	for _, a := range arrivals {
		sum += a.Number
	}
	if len(arrivals) > 10 || sum != 10_000 {
		t.Errorf("%v arrivals in %d stretches, want 10,000 in at most 10", sum, len(arrivals))
	}
	i.Curve = i.Curve[:4]
	if e := i.Estimate(); e.Known || e.Why == "" {
		t.Errorf("an estimate from 4 readings: %+v", e)
	}
}
