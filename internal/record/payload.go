package record

import (
	"encoding/json"
	"fmt"
)

// A Payload is the content of a record of the audit log besides its number, time
// and hashes. Its JSON is a contract: docs/audit-log.md.
type Payload interface {
	// Kind is the subject of the record.
	Kind() Kind
	// Headline is the summary for people and for the journal's filters.
	Headline() Headline
}

// A Headline has the fields by which filters find the journal's copy of a
// record. Fields that a kind does not have are empty.
type Headline struct {
	Priority Priority
	// Sentence is for people, without time and kind. It is not sanitised, and
	// empty where the writer left none.
	Sentence string
	Incident string
	Level    string
	Verdict  string
	Held     string
	// Action is the type of the first action, and NetNS the inode number of
	// the namespace, as text.
	Action string
	NetNS  string
	// Would is set if the actions are reported and not carried out.
	Would bool
}

// A Priority is a syslog priority, as journald takes it: the lower, the more
// urgent. `journalctl -p warning` shows what an administrator needs the next
// morning: problems, actions and failed actions. Reports of a healthy day are
// below.
type Priority uint8

// The priorities that records have.
const (
	Error Priority = iota + 3
	Warning
	Notice
	Info
	Debug
)

// Other is the payload of a record whose kind this version does not know.
type Other struct {
	Name Kind
	// JSON is the payload as it stands in the record, an object.
	JSON json.RawMessage
}

// Kind returns the name of the kind.
func (o *Other) Kind() Kind { return o.Name }

// Headline returns the sentence alone, if there is one.
func (o *Other) Headline() Headline {
	h := Headline{Priority: Info}
	// An error leaves the fields before it.
	_ = eachField(o.JSON, func(name, value []byte) error {
		if string(name) == "text" {
			h.Sentence = unquoted(value)
		}
		return nil
	})
	return h
}

// MarshalJSON returns the payload as it is.
func (o *Other) MarshalJSON() ([]byte, error) {
	if o.JSON == nil {
		return []byte("{}"), nil
	}
	return o.JSON, nil
}

// Empty returns a payload of a kind to decode into, nil for an unknown kind.
func Empty(k Kind) Payload {
	switch k {
	case KindStart:
		return new(Start)
	case KindStop:
		return new(Stop)
	case KindConfig:
		return new(Config)
	case KindSignal:
		return new(Signal)
	case KindLevel:
		return new(Level)
	case KindCensus:
		return new(Census)
	case KindPlan:
		return new(Plan)
	case KindOutcome:
		return new(Outcome)
	case KindVerdict:
		return new(Verdict)
	case KindHold:
		return new(Hold)
	case KindOverride:
		return new(Override)
	case KindBreaker:
		return new(Breaker)
	case KindPause:
		return new(Pause)
	case KindResume:
		return new(Resume)
	case KindRevert:
		return new(Revert)
	case KindMissed:
		return new(Missed)
	case KindGap:
		return new(Gap)
	case KindIncidentOpen:
		return new(IncidentOpen)
	case KindIncidentClose:
		return new(IncidentClose)
	case KindSample:
		return new(Samples)
	}
	return nil
}

// Decode reads the payload of a record: a JSON object, which may be the whole
// line. A field that is not there is zero, and one that this version does not
// know is passed over. The payload of an unknown kind is an *Other.
func Decode(kind Kind, text []byte) (Payload, error) {
	p := Empty(kind)
	if p == nil {
		return &Other{Name: kind, JSON: text}, nil
	}
	// The samples' own decoder is called directly: a long log is nearly all
	// samples, and encoding/json would read each twice.
	if s, ok := p.(*Samples); ok {
		return s, s.UnmarshalJSON(text)
	}
	var err error
	switch p := p.(type) {
	case *Plan:
		err = p.decode(text)
	case *Hold:
		err = p.decode(text)
	case *Breaker:
		err = p.decode(text)
	default:
		err = json.Unmarshal(text, p)
	}
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", kind, err)
	}
	return p, nil
}
