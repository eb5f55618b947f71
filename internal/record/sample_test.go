package record

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

func sampleAt(s int) Sample {
	return Sample{
		At: policy.BootTime(time.Duration(s) * time.Second), Entries: 1000, Max: 2000, Buckets: 512,
		Counters: conntrack.Counters{Drop: 4, EarlyDrop: 3, InsertFailed: 2, ChainTooLong: 1},
		Rate:     -12, FullIn: policy.Never, Level: policy.High,
	}
}

func TestSamplesAreReadAsWritten(t *testing.T) {
	second := sampleAt(8)
	second.FullIn, second.Rate = 1500*time.Millisecond, 77
	want := Samples{
		Incident: "INC-1", NetNS: 4026531840, Before: true, Wall: time.Date(2026, 11, 20, 19, 0, 0, 0, time.UTC),
		Rows: []Sample{sampleAt(7), second},
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	const written = `{"incident":"INC-1","netns":4026531840,"before":true,"wall":"2026-11-20T19:00:00Z","at":"7s",` +
		`"samples":[[0,1000,2000,512,4,3,2,1,-12,-1,2],[1000,1000,2000,512,4,3,2,1,77,1500,2]]}`
	if diff := cmp.Diff(written, string(text)); diff != "" {
		t.Errorf("the contract (-want +got):\n%s", diff)
	}
	var got Samples
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestLongestRecordOfSamplesFitsALineOfTheLog(t *testing.T) {
	s := Samples{Incident: strings.Repeat("x", 64), NetNS: math.MaxUint32, Before: true, Wall: time.Now()}
	for range MaxSamples {
		s.Rows = append(s.Rows, Sample{
			At: math.MaxInt64 / 2, Entries: math.MaxUint64, Max: math.MaxUint64, Buckets: math.MaxUint64,
			Counters: conntrack.Counters{Drop: math.MaxUint64, EarlyDrop: math.MaxUint64, InsertFailed: math.MaxUint64, ChainTooLong: math.MaxUint64},
			Rate:     math.Inf(-1), FullIn: policy.Never - 1,
		})
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 64<<10-1024 {
		t.Errorf("%d bytes", len(text))
	}
}

func TestSamplesThatAreNone(t *testing.T) {
	for name, text := range map[string]string{
		"no rows":              `{"at":"1s"}`,
		"a row too short":      `{"at":"1s","samples":[[1,2,3]]}`,
		"a fraction":           `{"at":"1s","samples":[[0,1,2,3,4,5,6,7,8,9.5,1]]}`,
		"a negative entry":     `{"at":"1s","samples":[[0,-1,2,3,4,5,6,7,8,9,1]]}`,
		"a level of its own":   `{"at":"1s","samples":[[0,1,2,3,4,5,6,7,8,9,4]]}`,
		"a number of 19 digit": `{"at":"1s","samples":[[0,1000000000000000000,2,3,4,5,6,7,8,9,1]]}`,
		"a moment before boot": `{"at":"-1s","samples":[]}`,
		"text after the rows":  `{"at":"1s","samples":[]x}`,
		"a comma too many":     `{"at":"1s","samples":[[0,1,2,3,4,5,6,7,8,9,1],]}`,
		"too many rows":        `{"at":"1s","samples":[` + strings.Repeat(`[0,1,2,3,4,5,6,7,8,9,1],`, MaxSamples) + `[0,1,2,3,4,5,6,7,8,9,1]]}`,
	} {
		t.Run(name, func(t *testing.T) {
			var s Samples
			if err := s.UnmarshalJSON([]byte(text)); err == nil {
				t.Errorf("read %+v, want an error", s)
			}
		})
	}
}

func TestSamplesOfALaterVersionAreRead(t *testing.T) {
	var s Samples
	err := s.UnmarshalJSON([]byte(`{"new":{"a":["}\"",1]},"at":"1s","samples":[[5,1,2,3,4,5,6,7,8,9,1,10,11]]}`))
	if err != nil || len(s.Rows) != 1 || s.Rows[0].At != policy.BootTime(1005*time.Millisecond) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestJoinKeepsTheFullestMomentAndTheLastCounters(t *testing.T) {
	a, b := sampleAt(1), sampleAt(2)
	a.Entries, a.Level = 1900, policy.Exhausted
	b.Counters.Drop = 9
	got := a.Join(b)
	if got.At != a.At || got.Entries != 1900 || got.Counters.Drop != 9 || got.Level != policy.Exhausted {
		t.Errorf("%+v", got)
	}
	// 1,500 of 10,000 is more entries and less full.
	b.Entries, b.Max = 1950, 10_000
	if got = a.Join(b); got.Entries != 1900 || got.Max != 2000 {
		t.Errorf("%+v", got)
	}
	b.Entries = 9900
	if got = a.Join(b); got.Entries != 9900 || got.Max != 10_000 || got.At != a.At {
		t.Errorf("%+v", got)
	}
}

func FuzzSamples(f *testing.F) {
	text, err := json.Marshal(Samples{Incident: "INC", Rows: []Sample{sampleAt(1), sampleAt(2)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"at":"1s","samples":[[`))
	f.Add([]byte(`{"a\\":"\\\"","at":"9223372036s","samples":[]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var s, again Samples
		if s.UnmarshalJSON(text) != nil {
			return
		}
		written, err := s.MarshalJSON()
		if err != nil {
			return // a year that JSON can't say
		}
		if err := again.UnmarshalJSON(written); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if len(again.Rows) != len(s.Rows) {
			t.Errorf("%d rows, then %d", len(s.Rows), len(again.Rows))
		}
	})
}
