package loop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// Deps are the functions through which a Daemon touches the world. All are
// needed but those that say otherwise, and all but Census are called by the
// loop alone.
type Deps struct {
	// Own is the inode number of the daemon's own namespace, by which the
	// kernel may name it; its observation has 0. 0: it is not known.
	Own uint32
	// Now returns the wall clock and the time since boot.
	Now func() (time.Time, policy.BootTime)
	// Observe reads every table, the daemon's own first; there is always that
	// one. The loop fills in the signals and the census. An error means that nothing is known.
	Observe func(context.Context) ([]policy.Observation, error)
	// Wake receives when the kernel's log spoke of a full table, and Drain
	// returns what it said since the last call. Both are optional.
	Wake  <-chan struct{}
	Drain func() []policy.Signal
	// Apply carries out one action and says what the kernel said.
	Apply func(ctx context.Context, incident string, action policy.Action) policy.Outcome
	// Record makes a record durable. Its error means that it is not.
	Record func(record.Payload) error
	// Yield notes that a value belongs to somebody else now, so that it is
	// not put back later. Nil: there is nobody to tell.
	Yield func(netns uint32, ov policy.Override) error
	// LikelyWriter says who probably set a sysctl to a value. Nil: nobody knows.
	LikelyWriter func(sysctl string, value uint64) string
	// Name is what people call another namespace than the daemon's own. Nil:
	// nobody knows.
	Name func(netns uint32) string
	// Census looks into the table of an observation within a bounded time; it
	// runs beside the loop. errors.ErrUnsupported: this one can't be looked
	// into. Nil: no census.
	Census func(context.Context, policy.Limits, policy.Observation) (CensusResult, error)
	// Save keeps what the next start should know. Nil: it is forgotten.
	Save func(map[uint32]Snapshot) error
	// Heartbeat is called before a turn, after each table of it, and every Beat
	// while the loop waits: the loop does its work. It is not called while a
	// step hangs. Nil: nobody asks.
	Heartbeat func()
	// HeartbeatEvery bounds the time between two calls of Alive, but for the time that a
	// step takes. 0: the wait between two turns bounds it.
	HeartbeatEvery time.Duration
	// ReportError is told of an error that the loop lives with, once for each
	// change; nil means that it is over. Nil: nobody asks.
	ReportError func(what string, err error)
}

// A Loop is the loop. Make one with New; Run it once.
type Loop struct {
	deps     Deps
	limits   policy.Limits
	requests chan func()
	done     chan struct{}

	tables []*table
	// retained are the namespaces that were observed before, the latest last.
	retained []retained
	// signals are those that no turn has dealt with.
	signals  []policy.Signal
	finished chan finishedCensus
	counting sync.WaitGroup
	status   atomic.Pointer[Status]
	failures map[string]string
}

// A CensusResult is what a census found: what the table is made of, and who has the
// most entries. Policy decides by the Summary; Top is for people.
type CensusResult struct {
	Summary census.Summary
	Top     census.Talkers
}

// Snapshot is what one table's decisions remember beyond a restart.
type Snapshot struct {
	State policy.State `json:"state"`
	// Incident is the name of the incident that was open, if one was.
	Incident string `json:"incident,omitempty"`
}

// finishedCensus is the answer of a census.
type finishedCensus struct {
	netns  uint32
	at     policy.BootTime
	result CensusResult
	err    error
}

// New returns a daemon under these limits. Kept is what an earlier run on the same boot saved, by namespace, with the claims of the
// ledger; nil is a good start.
func New(edges Deps, limits policy.Limits, kept map[uint32]Snapshot) *Loop {
	l := &Loop{
		deps: edges, limits: limits,
		requests: make(chan func()), done: make(chan struct{}), finished: make(chan finishedCensus, 1), failures: map[string]string{},
	}
	for netns, k := range kept {
		k.State.Since = 0 // nobody watched in between
		l.tables = append(l.tables, &table{
			netns: netns, state: k.State, level: k.State.Level, incident: k.Incident,
		})
	}
	l.status.Store(&Status{Mode: limits.Mode})
	return l
}

// ErrStopped says that the loop has ended.
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
	text := fmt.Sprintf("uid %d pauses it for %s: %s", by.UID, by.For, cmp.Or(by.Reason, "no reason given"))
	return l.changeStates(ctx, &record.Pause{Requester: by, Text: text}, func(s *policy.State) {
		_, now := l.deps.Now()
		s.Pause(now, by.For)
	})
}

// Resume ends a pause and closes the breaker.
func (l *Loop) Resume(ctx context.Context, by record.Requester) error {
	text := fmt.Sprintf("resumed by uid %d: %s", by.UID, cmp.Or(by.Reason, "no reason given"))
	return l.changeStates(ctx, &record.Resume{Requester: by, Text: text}, (*policy.State).Resume)
}

// changeStates does to every state what somebody asked for, so that a restart
// remembers it, and records who asked.
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

// Between runs fn between two turns, when no action is under way: fn puts
// kernel values back. Every state gives up its claims, and gets back from the
// function that fn returns, if any, those on what was left as it is.
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

// Status returns how things stood after the last turn.
func (l *Loop) Status() Status { return *l.status.Load() }
