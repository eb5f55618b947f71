package census

import (
	"encoding/json"
	"fmt"
	"slices"
)

// bounds are the upper ends of a Histogram's ranges in seconds, each included:
// the usual timeouts lie on them. The last range has none.
func bounds() [rangesBounded]uint32 {
	return [...]uint32{10, 30, 60, 120, 300, 600, 3600, 86400, 432000}
}

const rangesBounded = 9

// A Histogram counts entries by a time. The zero Histogram is empty.
type Histogram struct {
	counts  [rangesBounded + 1]uint64
	unknown uint64
}

// A Range is one bar of a Histogram: Entries of more than Above and, unless
// UpTo is 0, at most UpTo seconds. The first one includes 0.
type Range struct {
	Above   uint32 `json:"above_s"`
	UpTo    uint32 `json:"up_to_s,omitempty"`
	Entries uint64 `json:"entries"`
}

// Add counts a time in seconds.
func (h *Histogram) Add(seconds uint32) {
	i := 0
	for _, upTo := range bounds() {
		if seconds <= upTo {
			break
		}
		i++
	}
	h.counts[i]++
}

// AddUnknown counts an entry whose time is not known.
func (h *Histogram) AddUnknown() { h.unknown++ }

// Unknown is how many times were not known.
func (h *Histogram) Unknown() uint64 { return h.unknown }

// Ranges returns the bars from the first to the last that has entries.
func (h *Histogram) Ranges() []Range {
	upTo := bounds()
	var list []Range
	last := 0
	for i, n := range h.counts {
		r := Range{Entries: n}
		if i > 0 {
			r.Above = upTo[i-1]
		}
		if i < len(upTo) {
			r.UpTo = upTo[i]
		}
		if list = append(list, r); n > 0 {
			last = len(list)
		}
	}
	return list[:last]
}

// histogram is the JSON of a Histogram.
type histogram struct {
	Ranges  []Range `json:"ranges"`
	Unknown uint64  `json:"unknown"`
}

// MarshalJSON writes the ranges and how many are unknown.
func (h Histogram) MarshalJSON() ([]byte, error) {
	return json.Marshal(histogram{append([]Range{}, h.Ranges()...), h.unknown})
}

// UnmarshalJSON reads what MarshalJSON wrote. A range of other bounds is an
// error.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	var read histogram
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	*h = Histogram{unknown: read.Unknown}
	upTo := bounds()
	for _, r := range read.Ranges {
		i := slices.Index(upTo[:], r.UpTo)
		if r.UpTo == 0 {
			i = len(upTo)
		}
		if i < 0 || (i > 0 && r.Above != upTo[i-1]) || (i == 0 && r.Above != 0) {
			return fmt.Errorf("histogram has no range from %d to %d", r.Above, r.UpTo)
		}
		h.counts[i] = r.Entries
	}
	return nil
}
