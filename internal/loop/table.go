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
	// censusRunning is set while a census counts the entries, censusEnded is
	// when the last one ended, with an error or without.
	censusRunning bool
	censusEnded   policy.BootTime
	// censusRecorded is when the census in the record was made.
	censusRecorded policy.BootTime

	recorder recorder
}

// matchTables puts the tables in the order of the observations, makes those that
// are new, and retains the state of those that are not observed any more.
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
		l.closeIncident(t, "the namespace is gone, or has few entries")
		l.retain(t)
		delete(l.failures, censusTask(t.netns))
	}
	if len(gone) > 0 {
		l.save() // or the next start ends their incidents once more
	}
	if len(observations) > 0 && observations[0].Absent {
		for i := range l.retained {
			l.retained[i].state.ReleaseClaims() // the written values went with the module
		}
	}
}

// inherit copies the host-wide part of another table's state: the values that
// ctwarden wrote, its acts, the pause and the breaker.
func (t *table) inherit(from *table) {
	t.state.Max, t.state.Buckets = from.state.Max, from.state.Buckets
	t.state.LastResize = from.state.LastResize
	t.state.Acts, t.state.ActsNext = from.state.Acts, from.state.ActsNext
	t.state.SafetyPauseUntil, t.state.SafetyPause = from.state.SafetyPauseUntil, from.state.SafetyPause
	t.state.PausedUntil = from.state.PausedUntil
}

// closeIncident closes the incident of a table that is not observed any more, and
// records why.
func (l *Loop) closeIncident(t *table, why string) {
	if t.incident == "" {
		return
	}
	t.recorder.endStretch()
	l.flush(t)
	l.record(&record.IncidentClose{Edge: l.incidentEdge(t, &t.plan.Assessment.Observation, why)})
	t.incident = ""
}

// name returns the name of a namespace.
func (l *Loop) name(netns uint32) string {
	switch {
	case netns == 0:
		return "ctwarden's own network namespace"
	case l.deps.Name != nil:
		return l.deps.Name(netns)
	}
	return fmt.Sprintf("netns %d", netns)
}

// addSignals adds to an observation the signals and the census since the
// last one.
func (t *table) addSignals(o *policy.Observation) {
	o.Full, o.Elsewhere = t.full, t.elsewhere
	t.full, t.elsewhere = 0, 0
	o.Census, o.CensusAt = t.census, t.censusAt
	if o.CensusAt > o.Now {
		o.CensusAt = o.Now
	}
}

// attribute adds each signal to the table that it names, after the observation
// has found the tables. A line without a name is about the initial namespace
// since Linux 6.17, and about any namespace before: it counts for every table
// that is nearly full, or else for the first.
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

// shareHostWide copies the host-wide values to the states of the other tables,
// and counts an act on one of them in each, beside that table's own acts.
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

// save saves the snapshots for the next start.
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

// censusTask is the task under which reportOnce has the errors of a census: a
// census of another table must not end the error of this one.
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
		if !errors.Is(c.err, errors.ErrUnsupported) { // this table can't be dumped: expected
			l.reportOnce(censusTask(c.netns), c.err)
		}
		t.censusRunning, t.censusEnded = false, c.at
		if c.err == nil {
			t.census, t.censusAt = c.result.Summary, c.at
			l.recordCensus(t, &c.result)
		}
	}
}
