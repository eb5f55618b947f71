package loop

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// Deps are the functions through which a Loop reads and changes the host. All
// are required but the optional ones, and only the loop's goroutine calls them,
// except Census.
type Deps struct {
	// Own is the inode number of the daemon's own namespace, by which the
	// kernel may name it; its observation has 0. 0 if it is unknown.
	Own uint32
	// Now returns the wall clock and the time since boot.
	Now func() (time.Time, policy.BootTime)
	// Observe reads every table, the daemon's own first, which there always
	// is. The loop adds the signals and the census. With an error there are no
	// observations.
	Observe func(context.Context) ([]policy.Observation, error)
	// Wake receives when the kernel log has a line about a full table, and
	// Drain returns the signals since the last call. Both are optional.
	Wake  <-chan struct{}
	Drain func() []policy.Signal
	// Apply carries out one action and returns the kernel's result.
	Apply func(ctx context.Context, incident string, action policy.Action) policy.Outcome
	// Record makes a record durable, or returns an error.
	Record func(record.Payload) error
	// Yield stores that another program changed a value, so that it is not
	// restored later. Optional.
	Yield func(netns uint32, ov policy.Override) error
	// LikelyWriter names the program that probably set a sysctl to a value.
	// Optional.
	LikelyWriter func(sysctl string, value uint64) string
	// Name returns the name of a namespace other than the daemon's own.
	// Optional.
	Name func(netns uint32) string
	// Census counts the entries of an observation's table within a bounded
	// time, in a goroutine of its own. The error is errors.ErrUnsupported for
	// a table whose entries can't be read. Optional.
	Census func(context.Context, policy.Limits, policy.Observation) (CensusResult, error)
	// Save saves the state of each table for the next start. Optional.
	Save func(map[uint32]Snapshot) error
	// Heartbeat is called before a turn, after each table of it, and every
	// HeartbeatEvery while the loop waits. It is not called while a step
	// hangs. Optional.
	Heartbeat func()
	// HeartbeatEvery bounds the time between two calls of Heartbeat, apart from
	// the duration of a step. 0 calls it only at turns.
	HeartbeatEvery time.Duration
	// ReportError receives each change of an error after which the loop
	// continues; nil is the end of the error. Optional.
	ReportError func(what string, err error)
}

// A Loop observes, decides and acts in turns. Make one with New; Run it once.
type Loop struct {
	deps     Deps
	limits   policy.Limits
	requests chan func()
	done     chan struct{}

	tables []*table
	// retained are the namespaces that were observed before, the latest last.
	retained []retained
	// signals are those that no turn has attributed yet.
	signals  []policy.Signal
	finished chan finishedCensus
	counting sync.WaitGroup
	status   atomic.Pointer[Status]
	failures map[string]string
}

// A CensusResult is the result of a census: the composition of the table, and the
// addresses with the most entries. Policy decides by the Summary; Top is shown.
type CensusResult struct {
	Summary census.Summary
	Top     census.Talkers
}

// A Snapshot is the state of one table that survives a restart.
type Snapshot struct {
	State policy.State `json:"state"`
	// Incident is the name of the incident that was open, if one was.
	Incident string `json:"incident,omitempty"`
}

// A finishedCensus is the result of a census, to be received by the loop.
type finishedCensus struct {
	netns  uint32
	at     policy.BootTime
	result CensusResult
	err    error
}

// New returns a loop with these limits. Kept are the snapshots that an earlier
// run of this boot saved, by namespace, with the claims of the ledger; nil if
// there was none.
func New(edges Deps, limits policy.Limits, kept map[uint32]Snapshot) *Loop {
	l := &Loop{
		deps: edges, limits: limits,
		requests: make(chan func()), done: make(chan struct{}), finished: make(chan finishedCensus, 1), failures: map[string]string{},
	}
	for netns, k := range kept {
		k.State.Since = 0 // the table was not observed in between
		l.tables = append(l.tables, &table{
			netns: netns, state: k.State, level: k.State.Level, incident: k.Incident,
		})
	}
	l.status.Store(&Status{Mode: limits.Mode})
	return l
}

// ErrStopped reports that the loop has ended.
var ErrStopped = errors.New("daemon has stopped")

// do runs fn in the loop, between two turns.
func (l *Loop) do(ctx context.Context, fn func()) error {
	done := make(chan struct{})
	select {
	case l.requests <- func() { defer close(done); fn() }:
		<-done
		return nil
	case <-l.done:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Pause holds every decision for a while.
func (l *Loop) Pause(ctx context.Context, by record.Requester) error {
	return l.changeStates(ctx, &record.Pause{Requester: by}, func(s *policy.State) {
		_, now := l.deps.Now()
		s.Pause(now, by.For)
	})
}

// Resume ends a pause and closes the breaker.
func (l *Loop) Resume(ctx context.Context, by record.Requester) error {
	return l.changeStates(ctx, &record.Resume{Requester: by}, (*policy.State).Resume)
}

// changeStates applies a request to every state, saves them for the next start,
// and records the requester.
func (l *Loop) changeStates(ctx context.Context, asked record.Payload, fn func(*policy.State)) error {
	var err error
	stopped := l.do(ctx, func() {
		l.states(func(_ uint32, s *policy.State) { fn(s) })
		l.save()
		err = l.deps.Record(asked)
	})
	return errors.Join(stopped, err)
}

// SetLimits swaps the limits between two turns.
func (l *Loop) SetLimits(ctx context.Context, limits policy.Limits) error {
	return l.do(ctx, func() { l.limits = limits })
}

// Between runs fn between two turns, while no action is running: fn restores
// kernel values. Every state releases its claims; the function that fn returns,
// which is optional, adds those on the values that fn left as they are.
func (l *Loop) Between(ctx context.Context, fn func() (left func(s *policy.State, netns uint32))) error {
	return l.do(ctx, func() {
		left := fn()
		l.states(func(netns uint32, s *policy.State) {
			s.ReleaseClaims()
			if left != nil {
				left(s, netns)
			}
		})
		l.save()
	})
}

// Status returns the status after the last turn.
func (l *Loop) Status() Status { return *l.status.Load() }
