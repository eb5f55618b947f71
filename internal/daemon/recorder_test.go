package daemon_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/daemon"
	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/policy"
)

// A flight is what a world's daemon recorded about an incident, as a reader of
// the log finds it.
type flight struct {
	kinds  []audit.Kind
	before []incident.Sample
	during []incident.Sample
	names  []string
	most   int // bytes of the longest record
}

// fly lets a daemon run for calm, then with the rate for rush, then empty
// until the incident has closed.
func fly(t *testing.T, w *world, calm, rush, rest time.Duration) *flight {
	t.Helper()
	f := &flight{}
	edges := w.edges()
	record := edges.Record
	edges.Record = func(kind audit.Kind, payload any) error {
		if err := record(kind, payload); err != nil {
			return err
		}
		f.kinds = append(f.kinds, kind)
		if kind == audit.KindSample {
			f.read(t, payload)
		}
		return nil
	}
	dm := daemon.New(edges, policy.Defaults(), nil, nil)
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
	var s incident.Samples
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
		f := fly(t, newWorld(t), 10*time.Minute, time.Minute, 10*time.Minute)
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
		// One minute up, five minutes of dwell: until the second it closed in.
		if n := len(f.during); n < 355 || n > 370 {
			t.Errorf("%d samples of an incident of about 6 minutes", n)
		}
		if len(f.names) != 1 || f.names[0] == "" {
			t.Errorf("samples of %q, want one incident", f.names)
		}
		if f.most > audit.MaxLine-512 {
			t.Errorf("a record of %d bytes does not fit a line", f.most)
		}
		for i, kind := range f.kinds {
			if kind == audit.KindSample && i > 0 && f.kinds[i-1] == audit.KindPlan {
				t.Errorf("a sample was recorded between plan and outcome: %v", f.kinds)
			}
		}
	})
}

func TestFlightRecorderThinsALongIncidentOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fixed = 80_000 // elevated, and nothing helps
		f := fly(t, w, time.Minute, 26*time.Hour, time.Second)
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

func TestFlightRecorderLosesNothingToADiskThatIsFullForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fixed = 80_000
		go func() {
			time.Sleep(2 * time.Minute)
			w.refuseWith(errors.New("no space left on device"))
			time.Sleep(2 * time.Minute)
			w.refuseWith(nil)
		}()
		f := fly(t, w, time.Minute, 10*time.Minute, time.Second)
		for i := 1; i < len(f.during); i++ {
			if step := f.during[i].At.Since(f.during[i-1].At); step > 1300*time.Millisecond {
				t.Fatalf("%s are missing after sample %d", step, i)
			}
		}
	})
}

func TestFlightRecorderWritesWhatItHoldsWhenTheDaemonStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fixed = 80_000
		f := fly(t, w, 0, 4500*time.Millisecond, 0)
		if n := len(f.during); n < 4 || n > 6 {
			t.Errorf("%d samples of 4.5 seconds that ended with the daemon", n)
		}
	})
}
