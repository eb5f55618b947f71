package record

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Skimmer reads of each payload what a list of incidents needs, several times
// faster than Decode: of a plan the reading of the table, but neither state nor
// actions; of an outcome the value that was written. The zero Skimmer is ready
// for use.
type Skimmer struct {
	// NoReadings leaves out what the table was read as: the rows of samples, the
	// observation of a plan, the figures of a verdict.
	NoReadings bool

	samples Samples
	plan    Plan
	outcome Outcome
	verdict Verdict
	edge    IncidentOpen
	level   Level
	config  Config
}

// Skim returns the payload of a record with those fields, valid until the next
// call. The text may be the whole line of the record. A level, cause or hold
// that this version does not know is the zero one.
func (s *Skimmer) Skim(kind Kind, text []byte) (Payload, error) {
	switch kind {
	case KindSample:
		if s.NoReadings {
			s.samples = Samples{}
			return &s.samples, skimmed(kind, eachField(text, s.samples.skim))
		}
		return &s.samples, s.samples.UnmarshalJSON(text)
	case KindPlan:
		return &s.plan, skimmed(kind, s.plan.skim(text, !s.NoReadings))
	case KindHold:
		return (*Hold)(&s.plan), skimmed(kind, s.plan.skim(text, !s.NoReadings))
	case KindBreaker:
		return (*Breaker)(&s.plan), skimmed(kind, s.plan.skim(text, !s.NoReadings))
	case KindOutcome:
		return &s.outcome, skimmed(kind, s.outcome.skim(text))
	case KindVerdict:
		return &s.verdict, skimmed(kind, s.verdict.skim(text, !s.NoReadings))
	case KindIncidentOpen:
		return &s.edge, skimmed(kind, s.edge.skim(text))
	case KindIncidentClose:
		return (*IncidentClose)(&s.edge), skimmed(kind, s.edge.skim(text))
	case KindLevel:
		return &s.level, skimmed(kind, s.level.skim(text))
	case KindCensus:
		c := new(Census)
		return c, skimmed(kind, eachField(text, c.skim))
	case KindConfig:
		return &s.config, skimmed(kind, s.config.skim(text))
	}
	return Decode(kind, text)
}

func skimmed(kind Kind, err error) error {
	if err != nil {
		return fmt.Errorf("skim %s: %w", kind, err)
	}
	return nil
}

// namespace returns a namespace's number.
func namespace(value []byte) uint32 { return uint32(min(number(value), math.MaxUint32)) }

func (s *Samples) skim(name, value []byte) error {
	switch string(name) {
	case "incident":
		s.Incident = unquoted(value)
	case "netns":
		s.NetNS = namespace(value)
	}
	return nil
}

func (c *Census) skim(name, value []byte) error {
	switch string(name) {
	case "incident":
		c.Incident = unquoted(value)
	case "netns":
		c.NetNS = namespace(value)
	case "text":
		c.Text = unquoted(value)
	}
	return nil
}

func (d *Decision) skim(text []byte, readings bool) error {
	*d = Decision{}
	return eachField(text, func(name, value []byte) error {
		switch string(name) {
		case "incident":
			d.Incident = unquoted(value)
		case "netns":
			d.NetNS = namespace(value)
		case "level":
			_ = d.Level.UnmarshalText([]byte(unquoted(value)))
		case "cause":
			_ = d.Cause.UnmarshalText([]byte(unquoted(value)))
		case "held":
			_ = d.Held.UnmarshalText([]byte(unquoted(value)))
		case "text":
			d.Text = unquoted(value)
		case "observation":
			if readings {
				return eachField(value, d.skimObservation)
			}
		}
		return nil
	})
}

func (d *Decision) skimObservation(name, value []byte) error {
	switch string(name) {
	case "now":
		return d.Observation.Now.UnmarshalText([]byte(unquoted(value)))
	case "table":
		return eachField(value, func(name, value []byte) error {
			t := &d.Observation.Table
			switch string(name) {
			case "entries":
				t.Entries = number(value)
			case "max":
				t.Max = number(value)
			case "buckets":
				t.Buckets = number(value)
			case "counters":
				return skimCounters(value, &t.Counters)
			}
			return nil
		})
	}
	return nil
}

func skimCounters(text []byte, c *conntrack.Counters) error {
	return eachField(text, func(name, value []byte) error {
		switch string(name) {
		case "drop":
			c.Drop = number(value)
		case "early_drop":
			c.EarlyDrop = number(value)
		case "insert_failed":
			c.InsertFailed = number(value)
		case "chain_too_long":
			c.ChainTooLong = number(value)
		case "insert":
			c.Insert = number(value)
		}
		return nil
	})
}

func (l *Level) skim(text []byte) error {
	*l = Level{}
	return eachField(text, func(name, value []byte) error {
		switch string(name) {
		case "incident":
			l.Incident = unquoted(value)
		case "netns":
			l.NetNS = namespace(value)
		case "from":
			_ = l.From.UnmarshalText([]byte(unquoted(value)))
		case "level":
			_ = l.Level.UnmarshalText([]byte(unquoted(value)))
		case "entries":
			l.Entries = number(value)
		case "max":
			l.Max = number(value)
		case "text":
			l.Text = unquoted(value)
		}
		return nil
	})
}

// skim leaves out the result for each entry of an action on entries.
func (o *Outcome) skim(text []byte) error {
	*o = Outcome{}
	return eachField(text, func(name, value []byte) error {
		switch string(name) {
		case "incident":
			o.Incident = unquoted(value)
		case "action":
			return eachField(value, o.skimAction)
		case "ok":
			o.OK = string(value) == "true"
		case "foreign":
			o.ChangedExternally = string(value) == "true"
		case "before":
			o.Before = number(value)
		case "after":
			o.After = number(value)
		case "text":
			o.Text = unquoted(value)
		}
		return nil
	})
}

func (o *Outcome) skimAction(name, value []byte) error {
	a := &o.Action
	switch string(name) {
	case "type":
		return a.Type.UnmarshalText([]byte(unquoted(value)))
	case "knob":
		return a.Knob.UnmarshalText([]byte(unquoted(value)))
	case "netns":
		a.NetNS = namespace(value)
	case "would":
		a.Would = string(value) == "true"
	}
	return nil
}

func (v *Verdict) skim(text []byte, readings bool) error {
	*v = Verdict{}
	var result []byte
	err := eachField(text, func(name, value []byte) error {
		switch string(name) {
		case "incident":
			v.Incident = unquoted(value)
		case "netns":
			v.NetNS = namespace(value)
		case "result":
			result = value
		case "after":
			if readings {
				return eachField(value, v.skimAfter)
			}
		case "text":
			v.Text = unquoted(value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return v.Result.UnmarshalText([]byte(unquoted(result)))
}

func (v *Verdict) skimAfter(name, value []byte) error {
	f := &v.After
	switch string(name) {
	case "at":
		return f.At.UnmarshalText([]byte(unquoted(value)))
	case "entries":
		f.Entries = number(value)
	case "max":
		f.Max = number(value)
	case "counters":
		return skimCounters(value, &f.Counters)
	}
	return nil
}

func (e *Edge) skim(text []byte) error {
	*e = Edge{}
	return eachField(text, func(name, value []byte) error {
		switch string(name) {
		case "incident":
			e.Incident = unquoted(value)
		case "netns":
			e.NetNS = namespace(value)
		case "moment":
			return e.Moment.UnmarshalText([]byte(unquoted(value)))
		case "entries":
			e.Entries = number(value)
		case "max":
			e.Max = number(value)
		case "text":
			e.Text = unquoted(value)
		}
		return nil
	})
}

// skim reads the limits only if they are not those of the config record before:
// those of the same digest are the same.
func (c *Config) skim(text []byte) error {
	before := c.Digest
	*c = Config{Limits: c.Limits}
	return eachField(text, func(name, value []byte) error {
		switch string(name) {
		case "digest":
			c.Digest = unquoted(value)
		case "limits":
			if c.Digest == "" || c.Digest != before {
				return json.Unmarshal(value, &c.Limits)
			}
		case "text":
			c.Text = unquoted(value)
		}
		return nil
	})
}

// Incident returns the incident that a record names, "" if it names none,
// without reading the rest. The text may be the whole line.
func Incident(text []byte) string {
	var id string
	// An error leaves the fields before it.
	_ = eachField(text, func(name, value []byte) error {
		if string(name) == "incident" {
			id = unquoted(value)
			return errFound
		}
		return nil
	})
	return id
}

// Text returns the sentence of a record, "" where the writer left none, without
// reading the rest.
func Text(kind Kind, text []byte) string {
	if kind == KindGap || kind == KindSample {
		if p, err := Decode(kind, text); err == nil {
			return p.Headline().Sentence
		}
		return ""
	}
	return (&Other{JSON: text}).Headline().Sentence
}
