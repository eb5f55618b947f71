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
	heldAt map[policy.Hold]policy.Moment

	full, elsewhere uint32
	census          census.Summary
	censusAt        policy.Moment
	// counting says that the entries are being counted, counted when they were
	// last, in vain or not.
	counting bool
	counted  policy.Moment
	// recorded is when the census in the record was made.
	recorded policy.Moment

	recorder recorder
}

// match gives each observation its table, in the same order, and lets go of
// the tables that are not observed any more.
func (d *Daemon) match(observations []policy.Observation) {
	tables := make([]*table, len(observations))
	for i := range observations {
		netns := observations[i].Table.NetNS
		at := slices.IndexFunc(d.tables, func(t *table) bool { return t != nil && t.netns == netns })
		if at >= 0 {
			tables[i], d.tables[at] = d.tables[at], nil
			continue
		}
		tables[i] = &table{netns: netns}
		if state, ok := d.recall(&observations[i]); ok {
			tables[i].state = state
		} else if i > 0 {
			tables[i].inherit(tables[0])
		}
	}
	gone := slices.DeleteFunc(d.tables, func(t *table) bool { return t == nil })
	d.tables = tables
	for _, t := range gone {
		d.letGo(t, "is over: the namespace is gone, or holds little")
		d.remember(t)
		delete(d.trouble, censusOf(t.netns))
	}
	if len(gone) > 0 {
		d.keep() // or the next start ends their incidents once more
	}
	if len(observations) > 0 && observations[0].Absent {
		for i := range d.gone {
			d.gone[i].state.Disown() // what was written went with the module
		}
	}
}

// inherit takes over what is one for the whole host: the values that ctwarden
// wrote, its acts, and what a person or the breaker has forbidden.
func (t *table) inherit(from *table) {
	t.state.Max, t.state.Buckets = from.state.Max, from.state.Buckets
	t.state.LastResize = from.state.LastResize
	t.state.Acts, t.state.ActsNext = from.state.Acts, from.state.ActsNext
	t.state.HandsOffUntil, t.state.HandsOffPause = from.state.HandsOffUntil, from.state.HandsOffPause
	t.state.PausedUntil = from.state.PausedUntil
}

// letGo ends the incident of a table that is not observed any more, and says
// why.
func (d *Daemon) letGo(t *table, why string) {
	if t.incident == "" {
		return
	}
	t.recorder.end()
	d.flush(t)
	d.record(&record.IncidentClose{Edge: d.edge(t, &t.plan.Assessment.Observation, why)})
	t.incident = ""
}

// name is what people call a namespace.
func (d *Daemon) name(netns uint32) string {
	switch {
	case netns == 0:
		return "ctwarden's own network namespace"
	case d.edges.Name != nil:
		return d.edges.Name(netns)
	}
	return fmt.Sprintf("netns %d", netns)
}

// complete adds to an observation what the loop heard and counted since the
// last one.
func (t *table) complete(o *policy.Observation) {
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
func (d *Daemon) attribute(observations []policy.Observation) {
	if len(d.tables) == 0 {
		return
	}
	for i := range d.signals {
		s := &d.signals[i]
		count := uint32(min(s.Count, math.MaxUint16))
		credited := false
		for n, t := range d.tables {
			near := observations[n].Table.Fullness() >= d.limits.Levels.NearMax
			named := s.Named && s.NetNS != 0 && (t.netns == s.NetNS || n == 0 && s.NetNS == d.edges.Own)
			if named || !s.Named && near {
				t.full += count
				d.recordSignal(t, s)
				credited = true
			}
		}
		if credited {
			continue
		}
		first := d.tables[0]
		if s.Named {
			first.elsewhere += count
		} else {
			first.full += count
		}
		d.recordSignal(first, s)
	}
	d.signals = nil
}

// share gives the other tables what is one value for the whole host, and counts
// the act upon it, if there was one, as theirs: each breaker goes on counting
// what its own table did, too.
func (d *Daemon) share(from *table) {
	d.states(func(_ uint32, s *policy.State) {
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

// keep saves what the next start should know.
func (d *Daemon) keep() {
	if d.edges.Save != nil {
		d.told("save state", d.edges.Save(d.kept()))
	}
}

func (d *Daemon) kept() map[uint32]Kept {
	kept := make(map[uint32]Kept, len(d.tables)+len(d.gone))
	for i := range d.gone {
		kept[d.gone[i].netns] = Kept{State: d.gone[i].state}
	}
	for _, t := range d.tables {
		kept[t.netns] = Kept{t.state, t.incident}
	}
	return kept
}

// look has the entries of a table counted, beside the loop: a raise must not
// wait for it.
func (d *Daemon) look(ctx context.Context, t *table) {
	now := t.plan.Assessment.Observation.Now
	kernel := &t.plan.Assessment.Observation.Kernel
	due := policy.CensusDue(t.plan.Assessment.Level, t.plan.Held, t.counted, now)
	if d.edges.Census == nil || t.counting || !due || !kernel.Entries && t.netns == 0 {
		return
	}
	t.counting = true
	o, limits := t.plan.Assessment.Observation, d.limits
	d.looks.Go(func() {
		look, err := d.edges.Census(ctx, limits, o)
		select {
		case d.censuses <- counted{netns: o.Table.NetNS, at: now, look: look, err: err}:
		case <-ctx.Done():
		}
	})
}

// censusOf is under what a census is in trouble: what fails in one table must
// not be over with the next census of another.
func censusOf(netns uint32) string {
	if netns == 0 {
		return "census"
	}
	return fmt.Sprintf("census of netns %d", netns)
}

func (d *Daemon) counted(c counted) {
	for _, t := range d.tables {
		if t.netns != c.netns {
			continue
		}
		if !errors.Is(c.err, errors.ErrUnsupported) { // it can't be looked into, which is no news
			d.told(censusOf(c.netns), c.err)
		}
		t.counting, t.counted = false, c.at
		if c.err == nil {
			t.census, t.censusAt = c.look.Summary, c.at
			d.recordCensus(t, &c.look)
		}
	}
}
