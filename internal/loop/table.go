package loop

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// A table is one namespace's table as the loop knows it.
type table struct {
	netns    uint32
	state    policy.State
	plan     policy.Plan
	incident string
	level    policy.Level
	// held is the hold of the last plan, heldAt when each was last recorded
	// in this level.
	held   policy.Hold
	heldAt map[policy.Hold]policy.BootTime

	full, elsewhere uint32
	census          census.Summary
	censusAt        policy.BootTime
	// censusRunning says that the entries are being counted, counted when they were
	// last, in vain or not.
	censusRunning bool
	censusEnded   policy.BootTime
	// censusRecorded is when the census in the record was made.
	censusRecorded policy.BootTime

	recorder recorder
}

// matchTables gives each observation its table, in the same order, and lets go of
// the tables that are not observed any more.
func (l *Loop) matchTables(observations []policy.Observation) {
	tables := make([]*table, len(observations))
	for i := range observations {
		netns := observations[i].Table.NetNS
		at := slices.IndexFunc(l.tables, func(t *table) bool { return t != nil && t.netns == netns })
		if at >= 0 {
			tables[i], l.tables[at] = l.tables[at], nil
			continue
		}
		tables[i] = &table{netns: netns}
		if state, ok := l.takeRetained(&observations[i]); ok {
			tables[i].state = state
		} else if i > 0 {
			tables[i].inherit(tables[0])
		}
	}
	gone := slices.DeleteFunc(l.tables, func(t *table) bool { return t == nil })
	l.tables = tables
	for _, t := range gone {
		l.closeIncident(t, "is over: the namespace is gone, or holds little")
		l.retain(t)
		delete(l.failures, censusTask(t.netns))
	}
	if len(gone) > 0 {
		l.save() // or the next start ends their incidents once more
	}
	if len(observations) > 0 && observations[0].Absent {
		for i := range l.retained {
			l.retained[i].state.ReleaseClaims() // what was written went with the module
		}
	}
}

// inherit takes over what is one for the whole host: the values that ctwarden
// wrote, its acts, and what a person or the breaker has forbidden.
func (t *table) inherit(from *table) {
	t.state.Max, t.state.Buckets = from.state.Max, from.state.Buckets
	t.state.LastResize = from.state.LastResize
	t.state.Acts, t.state.ActsNext = from.state.Acts, from.state.ActsNext
	t.state.SafetyPauseUntil, t.state.SafetyPause = from.state.SafetyPauseUntil, from.state.SafetyPause
	t.state.PausedUntil = from.state.PausedUntil
}

// closeIncident ends the incident of a table that is not observed any more, and says
// why.
func (l *Loop) closeIncident(t *table, why string) {
	if t.incident == "" {
		return
	}
	t.recorder.endStretch()
	l.flush(t)
	l.record(&record.IncidentClose{Edge: l.incidentEdge(t, &t.plan.Assessment.Observation, why)})
	t.incident = ""
}

// name is what people call a namespace.
func (l *Loop) name(netns uint32) string {
	switch {
	case netns == 0:
		return "ctwarden's own network namespace"
	case l.deps.Name != nil:
		return l.deps.Name(netns)
	}
	return fmt.Sprintf("netns %d", netns)
}

// addSignals adds to an observation what the loop heard and counted since the
// last one.
func (t *table) addSignals(o *policy.Observation) {
	o.Full, o.Elsewhere = t.full, t.elsewhere
	t.full, t.elsewhere = 0, 0
	o.Census, o.CensusAt = t.census, t.censusAt
	if o.CensusAt > o.Now {
		o.CensusAt = o.Now
	}
}

// attribute gives each signal to the table that it names: only an observation
// shows which tables there are. A line without a name is of
// the first namespace since Linux 6.17, and of any before: it goes to every
// table that is nearly full, or to the first.
func (l *Loop) attribute(observations []policy.Observation) {
	if len(l.tables) == 0 {
		return
	}
	for i := range l.signals {
		s := &l.signals[i]
		count := uint32(min(s.Count, math.MaxUint16))
		credited := false
		for n, t := range l.tables {
			near := observations[n].Table.Fullness() >= l.limits.Levels.NearMax
			named := s.Named && s.NetNS != 0 && (t.netns == s.NetNS || n == 0 && s.NetNS == l.deps.Own)
			if named || !s.Named && near {
				t.full += count
				l.recordSignal(t, s)
				credited = true
			}
		}
		if credited {
			continue
		}
		first := l.tables[0]
		if s.Named {
			first.elsewhere += count
		} else {
			first.full += count
		}
		l.recordSignal(first, s)
	}
	l.signals = nil
}

// shareHostWide gives the other tables what is one value for the whole host, and counts
// the act upon it, if there was one, as theirs: each breaker goes on counting
// what its own table did, too.
func (l *Loop) shareHostWide(from *table) {
	l.states(func(_ uint32, s *policy.State) {
		if s == &from.state {
			return
		}
		s.Max, s.Buckets = from.state.Max, from.state.Buckets
		s.LastResize = from.state.LastResize
		if from.plan.Acts() {
			s.CountAct(from.state.LastAct)
		}
	})
}

// save saves what the next start should know.
func (l *Loop) save() {
	if l.deps.Save != nil {
		l.reportOnce("save state", l.deps.Save(l.snapshots()))
	}
}

func (l *Loop) snapshots() map[uint32]Snapshot {
	kept := make(map[uint32]Snapshot, len(l.tables)+len(l.retained))
	for i := range l.retained {
		kept[l.retained[i].netns] = Snapshot{State: l.retained[i].state}
	}
	for _, t := range l.tables {
		kept[t.netns] = Snapshot{t.state, t.incident}
	}
	return kept
}

// startCensus has the entries of a table counted, beside the loop: a raise must not
// wait for it.
func (l *Loop) startCensus(ctx context.Context, t *table) {
	now := t.plan.Assessment.Observation.Now
	kernel := &t.plan.Assessment.Observation.Kernel
	due := policy.CensusDue(t.plan.Assessment.Level, t.plan.Held, t.censusEnded, now)
	if l.deps.Census == nil || t.censusRunning || !due || !kernel.Entries && t.netns == 0 {
		return
	}
	t.censusRunning = true
	o, limits := t.plan.Assessment.Observation, l.limits
	l.counting.Go(func() {
		look, err := l.deps.Census(ctx, limits, o)
		select {
		case l.finished <- finishedCensus{netns: o.Table.NetNS, at: now, result: look, err: err}:
		case <-ctx.Done():
		}
	})
}

// censusTask is under what a census is in trouble: what fails in one table must
// not be over with the next census of another.
func censusTask(netns uint32) string {
	if netns == 0 {
		return "census"
	}
	return fmt.Sprintf("census of netns %d", netns)
}

func (l *Loop) finishCensus(c finishedCensus) {
	for _, t := range l.tables {
		if t.netns != c.netns {
			continue
		}
		if !errors.Is(c.err, errors.ErrUnsupported) { // it can't be looked into, which is no news
			l.reportOnce(censusTask(c.netns), c.err)
		}
		t.censusRunning, t.censusEnded = false, c.at
		if c.err == nil {
			t.census, t.censusAt = c.result.Summary, c.at
			l.recordCensus(t, &c.result)
		}
	}
}
