package diagnosis

import (
	"math/rand/v2"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// The values of Diagnosis.From.
const (
	fromKernel = "kernel"
	fromText   = "text"
)

// A Census is of one table: it takes the entries, wherever they come from, and
// keeps what a diagnosis needs, in constant memory. Begin and ReadText make
// one. It is not safe for concurrent use.
type Census struct {
	// Name is how the caller named the namespace, where it is another one.
	Name string
	// Observation is the table that the entries are of. Of a text it has the
	// number of entries, and the timeouts that are the kernel's defaults.
	Observation policy.Observation
	// Census counts the entries. If they are a sample, their reader sets
	// Census.Summary.Sampled.
	Census *census.Census
	// Reading is how the entries were read; the margin is computed later.
	Reading Reading

	// Elsewhere are the other namespaces. Optional. Blind is why they are
	// not known.
	Elsewhere *Elsewhere
	Blind     error

	from   string
	limits policy.Limits
	// remove and age count by what the two acts on entries would touch.
	remove, age judged
	// shorter are the timeouts that the limits permit to shorten, as far as
	// one act would; outlived counts the entries that would have ended by now
	// with them.
	shorter  conntrack.Timeouts
	outlived [conntrack.NumTimeouts]uint64
}

// judged counts entries by what an act may do to them.
type judged struct {
	rule   *policy.Rule
	counts policy.Eligibilities
}

func (j *judged) judge(e *conntrack.Entry) bool {
	eligibility := j.rule.Judge(e)
	j.counts[eligibility]++
	return eligibility == policy.Eligible
}

// A Reading is how the entries of a table were read. Its JSON is a contract.
type Reading struct {
	Took time.Duration `json:"took_ns"`
	// Bytes were received from the kernel or read from the text.
	Bytes uint64 `json:"bytes"`
	// Unread entries or lines could not be understood.
	Unread uint64 `json:"unread"`
	// Resized is true when the hash was resized meanwhile: the counts are wrong.
	Resized bool `json:"resized,omitempty"`
	// Margin is by how much a share of one half may be off, 95 times in 100,
	// in hundredths of a percent.
	Margin conntrack.Permyriad `json:"margin"`
}

// Begin makes a Census for entries of the kernel's table that o observes. Its
// timeouts are those of the entries.
func Begin(limits *policy.Limits, protect conntrack.Protect, o policy.Observation) *Census {
	return begin(fromKernel, limits, protect, o)
}

func begin(from string, limits *policy.Limits, protect conntrack.Protect, o policy.Observation) *Census {
	l := &Census{Observation: o, from: from, limits: *limits}
	l.remove.rule, l.age.rule = limits.Rules(o.Timeouts, protect)
	l.Census = census.New(census.Count{Timeouts: o.Timeouts, Deletable: l.remove.judge, Ageable: l.age.judge}, rand.Uint64())
	for t := range l.shorter {
		floor, now := limits.Shorten.Floors[t], o.Timeouts[t]
		if floor != 0 && now > floor && policy.Shortens(conntrack.Timeout(t)) {
			l.shorter[t] = max(now/2, floor)
		}
	}
	return l
}

// Add counts an entry. It keeps no reference to it.
func (l *Census) Add(e *conntrack.Entry) {
	l.Census.Add(e)
	t := e.LivesBy()
	if short, now := l.shorter[t], l.Observation.Timeouts[t]; short != 0 && e.Timeout <= now-short {
		l.outlived[t]++
	}
}
