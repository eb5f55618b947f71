package record

import (
	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/policy"
)

// A Level is the payload of the record that the level of a table has changed.
type Level struct {
	Incident string       `json:"incident,omitempty"`
	NetNS    uint32       `json:"netns,omitempty"`
	From     policy.Level `json:"from"`
	Level    policy.Level `json:"level"`
	Entries  uint64       `json:"entries"`
	Max      uint64       `json:"max"`
	Text     string       `json:"text"`
}

// Kind returns KindLevel.
func (l *Level) Kind() Kind { return KindLevel }

// Headline returns the new level.
func (l *Level) Headline() Headline {
	h := Headline{Priority: Info, Sentence: l.Text, Incident: l.Incident, Level: l.Level.String(), NetNS: inode(l.NetNS)}
	switch l.Level {
	case policy.Exhausted:
		h.Priority = Error
	case policy.High:
		h.Priority = Warning
	case policy.Elevated:
		h.Priority = Notice
	}
	return h
}

// An Edge is the payload of the records that bound an incident.
type Edge struct {
	Incident string          `json:"incident"`
	NetNS    uint32          `json:"netns,omitempty"`
	Moment   policy.BootTime `json:"moment"`
	Entries  uint64          `json:"entries"`
	Max      uint64          `json:"max"`
	// Name is the display name of the namespace, unless it is the own one.
	Name string `json:"netns_name,omitempty"`
	// Why is the reason why the incident closed. It is part of the text only.
	Why  string `json:"-"`
	Text string `json:"text"`
}

func (e *Edge) headline(p Priority) Headline {
	return Headline{Priority: p, Sentence: e.Text, Incident: e.Incident, NetNS: inode(e.NetNS)}
}

// An IncidentOpen is the payload of the record that an incident begins.
type IncidentOpen struct{ Edge }

// Kind returns KindIncidentOpen.
func (i *IncidentOpen) Kind() Kind { return KindIncidentOpen }

// Headline returns which incident begins.
func (i *IncidentOpen) Headline() Headline { return i.headline(Warning) }

// An IncidentClose is the payload of the record that an incident ends.
type IncidentClose struct{ Edge }

// Kind returns KindIncidentClose.
func (i *IncidentClose) Kind() Kind { return KindIncidentClose }

// Headline returns which incident ends.
func (i *IncidentClose) Headline() Headline { return i.headline(Notice) }

// A Signal is the payload of the record of "table full" lines of the kernel.
type Signal struct {
	Incident string `json:"incident,omitempty"`
	policy.Signal
	Text string `json:"text"`
}

// Kind returns KindSignal.
func (s *Signal) Kind() Kind { return KindSignal }

// Headline returns the report of the kernel log.
func (s *Signal) Headline() Headline {
	return Headline{Priority: Warning, Sentence: s.Text, Incident: s.Incident, NetNS: inode(s.NetNS)}
}

// A Census is the payload of the record of the composition of a table.
type Census struct {
	Incident string `json:"incident,omitempty"`
	NetNS    uint32 `json:"netns,omitempty"`
	census.Summary
	// Top has the keys with the most entries, masked as configured.
	Top  census.Talkers `json:"top,omitzero"`
	Text string         `json:"text"`
}

// Kind returns KindCensus.
func (c *Census) Kind() Kind { return KindCensus }

// Headline returns the composition.
func (c *Census) Headline() Headline {
	return Headline{Priority: Info, Sentence: c.Text, Incident: c.Incident, NetNS: inode(c.NetNS)}
}
