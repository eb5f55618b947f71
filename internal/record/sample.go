package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// A Sample is one second of the flight recorder, or a longer stretch of a long
// incident: the fullest moment in it, and the counters at its end.
type Sample struct {
	At                    policy.BootTime
	Entries, Max, Buckets uint64
	Counters              conntrack.Counters
	// Rate is entries per second, FullIn the forecast (policy.Never: not
	// growing).
	Rate   float64
	FullIn time.Duration
	Level  policy.Level
}

// SampleOf returns the sample of one reading.
func SampleOf(a *policy.Assessment) Sample {
	t := &a.Observation.Table
	return Sample{
		At: a.Observation.Now, Entries: t.Entries, Max: t.Max, Buckets: t.Buckets, Counters: t.Counters,
		Rate: a.Trend.Rate(), FullIn: a.FullIn, Level: a.Level,
	}
}

// Join returns the sample of the stretch that s and the later one make. It is
// where s is, as full as the fuller of the two.
func (s Sample) Join(later Sample) Sample {
	joined := s
	if conntrack.Fuller(later.Entries, later.Max, s.Entries, s.Max) {
		joined = later
		joined.At = s.At
	}
	joined.Counters, joined.Level = later.Counters, max(s.Level, later.Level)
	return joined
}

// MaxSamples is how many samples one record may carry: five minutes before an
// incident. A row takes at most 180 bytes, so that they fit an audit record of
// 64 KiB.
const MaxSamples = 300

// Samples is the payload of a sample record. Its JSON is a contract, in
// docs/incidents.md: the rows are arrays of integers. It has no text: its
// sentence is made from the rows.
type Samples struct {
	Incident string
	NetNS    uint32
	// Before is set if the rows are from before the incident opened.
	Before bool
	// Wall is the wall clock at the first row.
	Wall time.Time
	Rows []Sample
}

// Kind returns KindSample.
func (s *Samples) Kind() Kind { return KindSample }

// Headline returns how full the table became.
func (s *Samples) Headline() Headline {
	return Headline{Priority: Debug, Sentence: s.sentence(), Incident: s.Incident, NetNS: inode(s.NetNS)}
}

func (s *Samples) sentence() string {
	if len(s.Rows) == 0 {
		return ""
	}
	fullest := &s.Rows[0]
	for i := range s.Rows {
		if s.Rows[i].Entries >= fullest.Entries {
			fullest = &s.Rows[i]
		}
	}
	text := fmt.Sprintf("%d readings: from %d to %d entries, at the most %d of %d",
		len(s.Rows), s.Rows[0].Entries, s.Rows[len(s.Rows)-1].Entries, fullest.Entries, fullest.Max)
	if s.Before {
		text += ", before the incident"
	}
	return text
}

const (
	fieldsOfRow = 11
	// mostInRow has 18 digits: no number of a table does.
	mostInRow = 1e18 - 1
)

// never stands for a forecast that there is none.
const never = -1

// MarshalJSON implements json.Marshaler.
func (s Samples) MarshalJSON() ([]byte, error) {
	var from policy.BootTime
	if len(s.Rows) > 0 {
		from = s.Rows[0].At
	}
	head, err := json.Marshal(struct {
		Incident string          `json:"incident,omitempty"`
		NetNS    uint32          `json:"netns,omitempty"`
		Before   bool            `json:"before,omitempty"`
		Wall     time.Time       `json:"wall"`
		At       policy.BootTime `json:"at"`
	}{s.Incident, s.NetNS, s.Before, s.Wall, from})
	if err != nil {
		return nil, err
	}
	b := append(head[:len(head)-1], `,"samples":[`...)
	for i := range s.Rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.Rows[i].appendRow(b, from)
	}
	return append(b, "]}"...), nil
}

func (s *Sample) appendRow(b []byte, from policy.BootTime) []byte {
	full := int64(never)
	if s.FullIn < policy.Never {
		full = s.FullIn.Milliseconds()
	}
	rate := int64(math.Round(min(max(s.Rate, -1e15), 1e15)))
	c := &s.Counters
	b = append(b, '[')
	b = strconv.AppendInt(b, s.At.Since(from).Milliseconds(), 10)
	for _, n := range [...]uint64{s.Entries, s.Max, s.Buckets, c.Drop, c.EarlyDrop, c.InsertFailed, c.ChainTooLong} {
		b = append(b, ',')
		b = strconv.AppendUint(b, min(n, mostInRow), 10)
	}
	for _, n := range [...]int64{rate, full, int64(s.Level)} {
		b = append(b, ',')
		b = strconv.AppendInt(b, n, 10)
	}
	return append(b, ']')
}

var errSamples = errors.New("not a list of samples")

// UnmarshalJSON implements json.Unmarshaler. It is written out because a long
// log is nearly all samples. Unknown fields and further columns of a row are
// passed over: a later version may add some.
func (s *Samples) UnmarshalJSON(text []byte) error {
	*s = Samples{Rows: s.Rows[:0]}
	var at policy.BootTime
	var rows []byte
	err := eachField(text, func(name, value []byte) error {
		switch string(name) {
		case "incident":
			s.Incident = unquoted(value)
		case "netns":
			s.NetNS = uint32(min(number(value), math.MaxUint32))
		case "before":
			s.Before = string(value) == "true"
		case "wall":
			return s.Wall.UnmarshalText(bytes.Trim(value, `"`))
		case "at":
			return at.UnmarshalText(bytes.Trim(value, `"`))
		case "samples":
			rows = value
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read samples: %w", err)
	}
	if rows == nil || at < 0 {
		return errSamples
	}
	return s.readRows(rows, at)
}

func (s *Samples) readRows(text []byte, from policy.BootTime) error {
	r := rowReader{text: text}
	if !r.skip('[') {
		return errSamples
	}
	for !r.skip(']') {
		if len(s.Rows) > 0 && !r.skip(',') || len(s.Rows) == MaxSamples {
			return errSamples
		}
		row, ok := r.row()
		if !ok {
			return errSamples
		}
		row.At += from
		if row.At < from {
			return errSamples
		}
		s.Rows = append(s.Rows, row)
	}
	if len(r.text) > 0 {
		return errSamples
	}
	return nil
}

// A rowReader reads rows of integers without white space, as they are written.
type rowReader struct{ text []byte }

func (r *rowReader) skip(c byte) bool {
	if len(r.text) == 0 || r.text[0] != c {
		return false
	}
	r.text = r.text[1:]
	return true
}

func (r *rowReader) row() (s Sample, ok bool) {
	var n [fieldsOfRow]int64
	if !r.skip('[') {
		return s, false
	}
	for i := range n {
		if i > 0 && !r.skip(',') {
			return s, false
		}
		if n[i], ok = r.integer(); !ok {
			return s, false
		}
	}
	for r.skip(',') {
		if _, ok := r.integer(); !ok {
			return s, false
		}
	}
	if !r.skip(']') {
		return s, false
	}
	for i := range n {
		if n[i] < 0 && i != 8 && i != 9 {
			return s, false
		}
	}
	if n[0] > math.MaxInt64/int64(time.Millisecond)/2 || n[9] > math.MaxInt64/int64(time.Millisecond) || n[10] > int64(policy.Exhausted) {
		return s, false
	}
	s = Sample{
		At: policy.BootTime(time.Duration(n[0]) * time.Millisecond), Entries: uint64(n[1]), Max: uint64(n[2]), Buckets: uint64(n[3]),
		Counters: conntrack.Counters{
			Drop: uint64(n[4]), EarlyDrop: uint64(n[5]), InsertFailed: uint64(n[6]), ChainTooLong: uint64(n[7]),
		},
		Rate: float64(n[8]), FullIn: policy.Never, Level: policy.Level(n[10]),
	}
	if n[9] >= 0 {
		s.FullIn = time.Duration(n[9]) * time.Millisecond
	}
	return s, true
}

// integer reads up to 18 digits, which do not overflow.
func (r *rowReader) integer() (int64, bool) {
	minus := r.skip('-')
	var n int64
	digits := 0
	for digits < len(r.text) && digits < 18 && r.text[digits]-'0' < 10 {
		n = n*10 + int64(r.text[digits]-'0')
		digits++
	}
	r.text = r.text[digits:]
	if minus {
		n = -n
	}
	return n, digits > 0
}
