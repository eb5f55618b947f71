package diagnosis

import (
	"math/rand/v2"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
)

// What Diagnosis.From says.
const (
	fromKernel = "kernel"
	fromText   = "text"
)

// A Look is at one table: it takes the entries, wherever they come from, and
// remembers what a diagnosis needs, in constant memory. Begin and ReadText make
// one. It is not safe for concurrent use.
type Look struct {
	// Name is how the namespace was asked for, where it is another one.
	Name string
	// Observation is the table that the entries are of. Of a text it has the
	// number of entries, and the timeouts that are the kernel's defaults.
	Observation policy.Observation
	// Census counts the entries. That they are a sample is for the one who
	// reads them to say, in Census.Summary.Sampled.
	Census *census.Census
	// Reading is how the entries were read; the margin is computed later.
	Reading Reading

	// Elsewhere are the other namespaces; nil: nobody asked. Blind is why they
	// are not known.
	Elsewhere *Elsewhere
	Blind     error

	from        string
	limits      policy.Limits
	remove, age *remediate.Foresight
	// shorter are the timeouts that the limits permit to shorten, as far as
	// one act would; outlived counts the entries that would have ended by now
	// with them.
	shorter  conntrack.Timeouts
	outlived [conntrack.NumTimeouts]uint64
}

// A Reading is how the entries of a table were read. Its JSON is a contract.
type Reading struct {
	Took time.Duration `json:"took_ns"`
	// Bytes were received from the kernel or read from the text.
	Bytes uint64 `json:"bytes"`
	// Unread entries or lines could not be understood.
	Unread uint64 `json:"unread"`
	// Resized says that the hash was resized meanwhile: the counts are wrong.
	Resized bool `json:"resized,omitempty"`
	// Margin is by how much a share of one half may be off, 95 times in 100,
	// in hundredths of a percent.
	Margin conntrack.Permyriad `json:"margin"`
}

// Begin makes ready to look at entries of the kernel's table that o tells of,
// which live by the timeouts in it.
func Begin(limits *policy.Limits, protect conntrack.Protect, o policy.Observation) *Look {
	return begin(fromKernel, limits, protect, o)
}

func begin(from string, limits *policy.Limits, protect conntrack.Protect, o policy.Observation) *Look {
	closing := limits.Shorten.Floors[conntrack.TCPTimeWait]
	remove := policy.Action{
		Type: policy.DeleteEntries, Class: policy.Unreplied,
		MinIdle: limits.Delete.MinIdle, SynSentIdle: limits.Delete.SynSentIdle,
	}
	age := policy.Action{Type: policy.AgeEntries, Class: policy.Closing, Remaining: closing}
	l := &Look{
		Observation: o,
		Census: census.New(census.Count{
			Timeouts: o.Timeouts,
			MinIdle:  limits.Delete.MinIdle, SynSentIdle: limits.Delete.SynSentIdle,
			Remaining: closing, Protect: protect,
		}, rand.Uint64()),
		from: from, limits: *limits,
		remove: remediate.Foresee(remove, protect, o.Timeouts),
		age:    remediate.Foresee(age, protect, o.Timeouts),
	}
	for t := range l.shorter {
		floor, now := limits.Shorten.Floors[t], o.Timeouts[t]
		if floor != 0 && now > floor && policy.Shortens(conntrack.Timeout(t)) {
			l.shorter[t] = max(now/2, floor)
		}
	}
	return l
}

// Add looks at an entry. It keeps nothing of it.
func (l *Look) Add(e *conntrack.Entry) {
	l.Census.Add(e)
	l.remove.Choose(e)
	l.age.Choose(e)
	t := e.LivesBy()
	if short, now := l.shorter[t], l.Observation.Timeouts[t]; short != 0 && e.Timeout <= now-short {
		l.outlived[t]++
	}
}
