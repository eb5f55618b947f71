package tablesim

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Scenario is a host and what happens to it. Its text form is described at
// Parse.
type Scenario struct {
	Name    string  `json:"name"`
	About   string  `json:"about,omitempty"`
	Machine Machine `json:"machine"`
	// Run is how long the scenario lasts.
	Run time.Duration `json:"run_ns"`
	// Noise is by how much loads differ from their rate, second by second;
	// Seed decides in which way.
	Noise conntrack.Permyriad `json:"noise,omitempty"`
	Seed  uint64              `json:"seed,omitempty"`
	// Start is what the tables hold at the begin.
	Start  []Start `json:"start,omitempty"`
	Loads  []Load  `json:"loads,omitempty"`
	Events []Event `json:"events,omitempty"`
}

// A Machine is the make of a host.
type Machine struct {
	// Memory is MemTotal, and Available what is free for entries and hash,
	// in bytes.
	Memory    uint64  `json:"memory"`
	Available uint64  `json:"available"`
	Kernel    Release `json:"kernel"`
	// Max and Buckets are the values in force after boot. Buckets 0 stands
	// for the kernel's choice of both.
	Max     uint64 `json:"max"`
	Buckets uint64 `json:"buckets"`
	// Timeouts are those that the administrator configured; the others have
	// the kernel's values.
	Timeouts conntrack.Timeouts `json:"timeouts,omitzero"`
	ReadOnly Parts              `json:"read_only,omitempty"`
	// GC is when the kernel's gc comes by first: it has a rhythm of its own,
	// and a scenario begins somewhere in it. 0 stands for a minute.
	GC time.Duration `json:"gc_ns,omitempty"`
	// Jitter is where the host stands among those of a fleet; see
	// policy.JitterLimits.
	Jitter conntrack.Permyriad `json:"phase,omitempty"`
	NetNS  []NetNS             `json:"netns,omitempty"`
}

// A NetNS is a network namespace besides the host's own.
type NetNS struct {
	Name  string `json:"name"`
	Inode uint32 `json:"inode"`
}

// A Start is a number of entries that a table holds at the begin. Idle is how
// long they have been silent; without it they are spread over their lifetime.
type Start struct {
	Class   Class         `json:"class"`
	Entries uint64        `json:"entries"`
	Idle    time.Duration `json:"idle_ns,omitempty"`
	NetNS   string        `json:"netns,omitempty"`
}

// A Load is connections of one class that arrive from At on.
type Load struct {
	At    time.Duration `json:"at_ns"`
	For   time.Duration `json:"for_ns"`
	Class Class         `json:"class"`
	// Rate is how many arrive a second at the begin, To at the end.
	Rate float64 `json:"rate"`
	To   float64 `json:"to"`
	// Lasting is how long each has traffic.
	Lasting time.Duration `json:"lasting_ns,omitempty"`
	NetNS   string        `json:"netns,omitempty"`
}

// rate is how many arrive a second at this age of the load.
func (l *Load) rate(age time.Duration) float64 {
	if age < 0 || age > l.For || l.For == 0 {
		return 0
	}
	return l.Rate + float64((l.To-l.Rate)*(float64(age)/float64(l.For)))
}

// A EventType is what an event does.
type EventType uint8

// The deeds.
const (
	NoEvent EventType = iota
	// SetKnob writes Value, and MultiplyKnob multiplies by it, as another
	// program or an administrator does.
	SetKnob
	MultiplyKnob
	// SetMemory makes Value bytes available for entries, SetPressure sets the
	// PSI memory pressure in hundredths of a percent.
	SetMemory
	SetPressure
	// LogNoise lets others log Value rate limited lines a second.
	LogNoise
	// StepWall and StepBoot move a clock by Span.
	StepWall
	StepBoot
	// Reboot empties the tables, puts the configured values back, and starts
	// ctwarden anew.
	Reboot
	// Unload and Reload remove the module and load it again.
	Unload
	Reload
	// Pause makes ctwarden hold for Span, Resume go on.
	Pause
	Resume
	numEventTypes
)

var eventTypeNames = [numEventTypes]string{
	"none", "set", "multiply", "memory", "pressure", "log_noise", "wall_clock",
	"boot_clock", "reboot", "unload", "reload", "pause", "resume",
}

// String returns the name used in scenarios.
func (d EventType) String() string { return eventTypeNames[min(d, numEventTypes-1)] }

// MarshalText implements encoding.TextMarshaler.
func (d EventType) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// An Event is something that happens at At, and with Every again and again
// until For is over.
type Event struct {
	At    time.Duration `json:"at_ns"`
	Every time.Duration `json:"every_ns,omitempty"`
	For   time.Duration `json:"for_ns,omitempty"`
	Type  EventType     `json:"deed"`
	Knob  Knob          `json:"knob,omitzero"`
	Value uint64        `json:"value,omitempty"`
	Span  time.Duration `json:"span_ns,omitempty"`
}

// A Part is something that may be read only.
type Part uint8

// The parts.
const (
	NoPart  Part = 0
	PartMax Part = 1 << (iota - 1)
	PartBuckets
	PartTimeouts
	PartEntries
)

// String returns the name used in scenarios.
func (p Part) String() string {
	switch p {
	case PartMax:
		return "max"
	case PartBuckets:
		return "buckets"
	case PartTimeouts:
		return "timeouts"
	case PartEntries:
		return "entries"
	}
	return "none"
}

// MarshalText implements encoding.TextMarshaler.
func (p Part) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Parts is a set of parts.
type Parts uint8

// Has reports whether the part is in the set.
func (p Parts) Has(part Part) bool { return p&Parts(part) != 0 }

// filled returns the machine with the kernel's choices for what is not given.
func (m Machine) filled() Machine {
	if m.Buckets == 0 {
		m.Buckets = m.Kernel.buckets(m.Memory)
		m.Max = m.Kernel.max(m.Buckets)
	}
	if m.Available == 0 {
		m.Available = m.Memory
	}
	return m
}

// find returns the place of a namespace's table; 0 for the host's own.
func (m *Machine) find(name string) int {
	for i := range m.NetNS {
		if m.NetNS[i].Name == name {
			return i + 1
		}
	}
	return 0
}
