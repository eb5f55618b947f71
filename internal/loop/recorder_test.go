package loop_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// A flight is what a world's daemon recorded about an incident, as a reader of
// the log finds it.
type flight struct {
	kinds  []record.Kind
	before []record.Sample
	during []record.Sample
	names  []string
	most   int // bytes of the longest record
}

// fly lets a daemon run for calm, then with the rate for rush, then empty
// until the incident has closed.
func recordFlight(t *testing.T, w *world, calm, rush, rest time.Duration) *flight {
	t.Helper()
	f := &flight{}
	deps := w.deps()
	write := deps.Record
	deps.Record = func(payload record.Payload) error {
		if err := write(payload); err != nil {
			return err
		}
		f.kinds = append(f.kinds, payload.Kind())
		if payload.Kind() == record.KindSample {
			f.read(t, payload)
		}
		return nil
	}
	dm := loop.New(deps, policy.Defaults(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); dm.Run(ctx) }()
	time.Sleep(calm)
	w.set(5000, 1000)
	time.Sleep(rush)
	w.set(0, 1000)
	time.Sleep(rest)
	cancel()
	<-ended
	return f
}

func (f *flight) read(t *testing.T, payload any) {
	t.Helper()
	text, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	f.most = max(f.most, len(text))
	var s record.Samples
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	if s.Before {
		f.before = append(f.before, slices.Clone(s.Rows)...)
	} else {
		f.during = append(f.during, slices.Clone(s.Rows)...)
	}
	if !slices.Contains(f.names, s.Incident) {
		f.names = append(f.names, s.Incident)
	}
}

func TestFlightRecorderHoldsFiveMinutesBeforeAndAllOfTheIncident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := recordFlight(t, newWorld(t), 10*time.Minute, time.Minute, 10*time.Minute)
		if len(f.before) != 300 {
			t.Errorf("%d samples before the incident, want 300", len(f.before))
		}
		all := slices.Concat(f.before, f.during)
		for i := 1; i < len(all); i++ {
			if step := all[i].At.Since(all[i-1].At); step < time.Second || step >= 2*time.Second {
				// A stretch of a second ends with the first look after it.
				t.Fatalf("sample %d comes %s after the one before, want one second to two", i, step)
			}
		}
		// Up for half a minute, as one raise makes room for the rest, and five
		// minutes of dwell: until the second it closed in.
		if n := len(f.during); n < 320 || n > 340 {
			t.Errorf("%d samples of an incident of about 5 and a half minutes", n)
		}
		if len(f.names) != 1 || f.names[0] == "" {
			t.Errorf("samples of %q, want one incident", f.names)
		}
		if f.most > audit.MaxLine-512 {
			t.Errorf("a record of %d bytes does not fit a line", f.most)
		}
		for i, kind := range f.kinds {
			if kind == record.KindSample && i > 0 && f.kinds[i-1] == record.KindPlan {
				t.Errorf("a sample was recorded between plan and outcome: %v", f.kinds)
			}
		}
	})
}

func TestFlightRecorderThinsALongIncident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fixed = 80_000 // elevated, and nothing helps
		f := recordFlight(t, w, time.Minute, 26*time.Hour, time.Second)
		// 3,600 in the first hour, 8,280 until the end of the day, 120 then.
		if n := len(f.during); n < 11_900 || n > 12_100 {
			t.Errorf("%d samples of 26 hours, want about 12,000", n)
		}
		last := f.during[len(f.during)-10:]
		if step := last[1].At.Since(last[0].At); step < time.Minute || step > 62*time.Second {
			t.Errorf("samples are %s apart after a day, want a minute", step)
		}
	})
}

// A table that is elevated for days is looked into every ten seconds, and every
// look would be a line in the log of an incident, of which nothing is removed.
func TestCensusRecordsOfALongIncidentAreThinned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fixed = 80_000
		censuses, recorded := 0, 0
		deps := w.deps()
		deps.Census = func(context.Context, policy.Limits, policy.Observation) (loop.CensusResult, error) {
			censuses++
			return loop.CensusResult{Summary: census.Summary{Seen: 80_000, Assured: 80_000}}, nil
		}
		write := deps.Record
		deps.Record = func(payload record.Payload) error {
			if payload.Kind() == record.KindCensus {
				recorded++
			}
			return write(payload)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 26*time.Hour)
		defer cancel()
		loop.New(deps, policy.Defaults(), nil).Run(ctx)
		if censuses < 8_000 {
			t.Errorf("%d looks in 26 hours: the cause has to be known all the time", censuses)
		}
		// 360 in the first hour, 828 until the end of the day, 12 then.
		if recorded < 1_100 || recorded > 1_210 {
			t.Errorf("%d looks recorded in 26 hours, want about 1,200", recorded)
		}
	})
}

// fullDisk lets no record through, after a while and for a while.
func (w *world) fullDisk(after, lasting time.Duration) {
	time.Sleep(after)
	w.refuseWith(errors.New("no space left on device"))
	time.Sleep(lasting)
	w.refuseWith(nil)
}

func TestFlightRecorderKeepsSamplesWhileTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fixed = 80_000
		go w.fullDisk(2*time.Minute, 2*time.Minute)
		f := recordFlight(t, w, time.Minute, 10*time.Minute, time.Second)
		for i := 1; i < len(f.during); i++ {
			if step := f.during[i].At.Since(f.during[i-1].At); step > 1300*time.Millisecond {
				t.Fatalf("%s are missing after sample %d", step, i)
			}
		}
	})
}

func TestFlightRecorderFlushesWhenTheLoopStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fixed = 80_000
		f := recordFlight(t, w, 0, 4500*time.Millisecond, 0)
		if n := len(f.during); n < 4 || n > 6 {
			t.Errorf("%d samples of 4.5 seconds that ended with the daemon", n)
		}
	})
}

// TestASampleSummarisesItsSecond: the fullest of them counts.
func TestASampleSummarisesItsSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fixed = 90_000 // high: four looks a second
		deps := w.deps()
		censuses := 0
		observe := deps.Observe
		deps.Observe = func(ctx context.Context) ([]policy.Observation, error) {
			o, err := observe(ctx)
			if censuses++; censuses%3 == 0 {
				o[0].Table.Entries = 91_000
			}
			return o, err
		}
		f := &flight{}
		deps.Record = func(payload record.Payload) error {
			if payload.Kind() == record.KindSample {
				f.read(t, payload)
			}
			return nil
		}
		limits := policy.Defaults()
		limits.Raise.Ceiling = 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		loop.New(deps, limits, nil).Run(ctx)
		for i, s := range f.during[5:50] {
			if s.Entries != 91_000 {
				t.Errorf("sample %d: %d entries, want the most of its second", 5+i, s.Entries)
			}
		}
	})
}

// TestSamplesThatCannotBeRecordedAreBounded, and the oldest of them go.
func TestSamplesThatCannotBeRecordedAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fixed = 80_000
		go w.fullDisk(2*time.Minute, 20*time.Minute)
		f := recordFlight(t, w, time.Minute, 30*time.Minute, time.Second)
		gaps := 0
		for i := 1; i < len(f.during); i++ {
			if step := f.during[i].At.Since(f.during[i-1].At); step > 1300*time.Millisecond {
				gaps++
				if step < 14*time.Minute || step > 16*time.Minute {
					t.Errorf("%s are missing, want the first quarter of an hour of twenty minutes", step)
				}
			}
		}
		if gaps != 1 {
			t.Errorf("%d gaps, want one", gaps)
		}
	})
}
