package incident

import (
	"fmt"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// A Status is how an incident ended.
type Status string

// The ways.
const (
	// Open: the log ends within it.
	Open Status = "open"
	// Closed: the table was calm again.
	Closed Status = "closed"
	// Interrupted: the host rebooted, or another incident of the same table
	// began, and no record has the end of this one.
	Interrupted Status = "interrupted"
)

// An Incident is what the log has of one time of trouble of one table. Its
// JSON is a contract: docs/incidents.md.
type Incident struct {
	// ID is the name of the first incident, Merged those that followed so
	// soon that all are one.
	ID     string   `json:"id"`
	Merged []string `json:"merged,omitempty"`
	NetNS  uint32   `json:"netns,omitempty"`
	Status Status   `json:"status"`
	// Seq is the number of its first record, LastSeq that of the last one so
	// far. Records of others stand in between.
	Seq     uint64 `json:"seq"`
	LastSeq uint64 `json:"last_seq"`
	// Partial is true when the record of its beginning is not in the log.
	Partial bool `json:"partial,omitempty"`
	// Start and End are by the wall clock; Duration is by the clock since
	// boot, where the log has it.
	Start    time.Time     `json:"start"`
	End      time.Time     `json:"end"`
	Duration time.Duration `json:"duration_ns"`
	// Version, Kernel and Mode are those of the last start of the daemon
	// before; empty where that is no longer in the log.
	Version string `json:"version,omitempty"`
	Kernel  string `json:"kernel,omitempty"`
	Mode    string `json:"mode,omitempty"`

	Level policy.Level `json:"level"` // the highest
	// Cause is the one that most decisions name, Causes are all that any
	// does, in the order of their first appearance.
	Cause  policy.Cause   `json:"cause"`
	Causes []policy.Cause `json:"causes,omitempty"`
	Peak   Point          `json:"peak"`
	// First and Last are the table at the beginning and at the end.
	First Point `json:"first"`
	Last  Point `json:"last"`
	// Losses are what the kernel counted between the two.
	Losses Losses `json:"losses"`
	// KernelLines counts the kernel's "table full" lines that were received. They are
	// rate limited: a trigger, never a measure.
	KernelLines uint64 `json:"lines,omitempty"`
	Counts      Counts `json:"tally"`

	Decisions []Decision `json:"decisions,omitempty"`
	Cost      Cost       `json:"sacrificed,omitzero"`
	Before    *Census    `json:"before,omitempty"`
	After     *Census    `json:"after,omitempty"`
	// Changed are the kernel values that this incident changed and that were
	// not restored by the end of the log.
	Changed     []KernelChange `json:"changed,omitempty"`
	Curve       []Point        `json:"curve,omitempty"`
	HostContext HostContext    `json:"scene,omitzero"`
	// Gaps are what of the log is missing or unreadable in this time, and
	// Omitted is how many decisions were left out to save room.
	Gaps    []string `json:"gaps,omitempty"`
	Omitted int      `json:"omitted,omitempty"`

	// Limits are those in force when it began; nil where the log no longer
	// has them. They stand in its config records.
	Limits *policy.Limits `json:"-"`

	limits *policy.Limits // those of the config record
	digest string         // of these limits

	// compacted is true when the curve is drawn, and what it is drawn from gone.
	compacted bool

	votes    [16]int         // how many decisions name each cause
	boot     string          // the boot it began in
	openedAt policy.BootTime // when it began and ended, by the clock since boot
	closedAt policy.BootTime
	// fromSamples is the course by the flight recorder, fromRecords by the
	// other records.
	fromSamples, fromRecords curve
}

// A Point is the table at one moment.
type Point struct {
	Time    time.Time       `json:"time"`
	At      policy.BootTime `json:"at,omitzero"`
	Entries uint64          `json:"entries"`
	Max     uint64          `json:"max"`
	Buckets uint64          `json:"buckets,omitempty"`
	Level   policy.Level    `json:"level"`
	// Lost and Evicted are the packets and entries lost since the incident's
	// first reading.
	Lost    uint64 `json:"lost,omitempty"`
	Evicted uint64 `json:"evicted,omitempty"`
}

// Fullness is entries/max.
func (p *Point) Fullness() conntrack.Permyriad { return conntrack.Share(p.Entries, p.Max) }

// Losses are the events that the kernel counted in an incident.
type Losses struct {
	// Packets were dropped because the table was full. Evicted entries were
	// dropped early to make room: their packet passed, their state is gone.
	Packets uint64 `json:"packets"`
	Evicted uint64 `json:"evicted"`
	// BelowMax are packets dropped while the table was not nearly full: no
	// memory, or not insertable for another reason.
	BelowMax uint64 `json:"elsewhere,omitempty"`
	// InsertFailed are insertions that failed, Chains the part of them that met a
	// chain that was too long.
	InsertFailed uint64 `json:"clashed,omitempty"`
	Chains       uint64 `json:"chains,omitempty"`
}

// A Counts counts what was done and what came of it.
type Counts struct {
	Done     int `json:"done"`             // acts that the kernel took
	Failed   int `json:"failed,omitempty"` // acts that it refused
	Would    int `json:"would,omitempty"`  // acts that were only planned
	Restored int `json:"back,omitempty"`   // values given back, among Done

	Helped       int `json:"helped,omitempty"`
	NoEffect     int `json:"no_effect,omitempty"`
	Worse        int `json:"worse,omitempty"`
	Inconclusive int `json:"inconclusive,omitempty"`

	Holds     int `json:"holds,omitempty"`
	Overrides int `json:"overrides,omitempty"`
	Breakers  int `json:"breakers,omitempty"`
	Restarts  int `json:"restarts,omitempty"`
}

// A DecisionKind is the kind of event of a Decision.
type DecisionKind string

// The kinds.
const (
	Acted         DecisionKind = "act"
	Held          DecisionKind = "hold"
	Overridden    DecisionKind = "override"
	BreakerOpened DecisionKind = "breaker"
	LevelChanged  DecisionKind = "level"
	KernelLine    DecisionKind = "signal"
	Requested     DecisionKind = "person" // a pause, a resume, a revert
	Restarted     DecisionKind = "restart"
)

// A Decision is something that was decided, or happened, in an incident.
type Decision struct {
	Seq  uint64          `json:"seq"`
	Time time.Time       `json:"time"`
	At   policy.BootTime `json:"at,omitzero"`
	Kind DecisionKind    `json:"kind"`
	// Text is the record in words.
	Text string `json:"text"`
	// Action is what was to be done, Outcome the kernel's result, Verdict
	// what came of it; for a hold, Hold is why nothing was done.
	Action  *policy.Action  `json:"action,omitempty"`
	Outcome *policy.Outcome `json:"outcome,omitempty"`
	Verdict *policy.Verdict `json:"verdict,omitempty"`
	Hold    policy.Hold     `json:"held,omitempty"`
	Level   policy.Level    `json:"level"`
	Cause   policy.Cause    `json:"cause,omitzero"`
	// Repeats counts further decisions that are the same, one after the other.
	Repeats int `json:"again,omitempty"`
}

// Cost is what was taken from connections to make room.
type Cost struct {
	// Deleted and Aged count entries by class.
	Deleted map[policy.Class]uint64 `json:"deleted,omitempty"`
	Aged    map[policy.Class]uint64 `json:"aged,omitempty"`
	// Spared counts the examined entries that were left alone, by reason.
	Spared policy.Eligibilities `json:"spared,omitzero"`
	// Samples are a few of those chosen.
	Samples []policy.Sample `json:"samples,omitempty"`
}

// A Census is one census.
type Census struct {
	Time time.Time `json:"time"`
	census.Summary
	// Top are those with the most entries; nil where that was not recorded.
	Top *census.Talkers `json:"top,omitempty"`
}

// A KernelChange is a kernel value that was changed and not put back.
type KernelChange struct {
	NetNS    uint32    `json:"netns,omitempty"`
	Sysctl   string    `json:"sysctl"`
	Original uint64    `json:"original"`
	Written  uint64    `json:"written"`
	Time     time.Time `json:"time"`
}

// Undo returns the shell command that puts the value back.
func (c *KernelChange) Undo() string {
	return fmt.Sprintf("sysctl -w net.netfilter.%s=%d", c.Sysctl, c.Original)
}

// A HostContext is what the estimates need to know of the host, from the first
// plan in the log.
type HostContext struct {
	Timeouts conntrack.Timeouts `json:"timeouts,omitzero"`
	Memory   policy.Memory      `json:"memory,omitzero"`
	Host     policy.Host        `json:"host,omitzero"`
	Budget   policy.Budget      `json:"budget,omitzero"`
	Kernel   policy.Kernel      `json:"kernel,omitzero"`
}

// isSet reports whether a plan has set the scene.
func (s *HostContext) isSet() bool { return s.Memory.Total != 0 || s.Timeouts != conntrack.Timeouts{} }

// hasID reports whether the incident goes by that name.
func (i *Incident) hasID(id string) bool { return i.ID == id || slices.Contains(i.Merged, id) }
