package daemon

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/policy"
)

// censusEvery is the least time between two looks into a table.
const censusEvery = 10 * time.Second

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
	counting        bool

	recorder recorder
}

// match gives each observation its table, in the same order, and forgets the
// tables of namespaces that are gone.
func (d *Daemon) match(observations []policy.Observation) {
	tables := make([]*table, len(observations))
	for i := range observations {
		netns := observations[i].Table.NetNS
		at := slices.IndexFunc(d.tables, func(t *table) bool { return t.netns == netns })
		if at >= 0 {
			tables[i] = d.tables[at]
			continue
		}
		tables[i] = &table{netns: netns}
		if len(d.tables) > 0 {
			tables[i].state.Max, tables[i].state.Buckets = d.tables[0].state.Max, d.tables[0].state.Buckets
		}
	}
	d.tables = tables
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

// hear credits a line to the table it names. A line without a name is of the
// first namespace since Linux 6.17, and of any before: it goes to every table
// that is nearly full, or to the first.
func (d *Daemon) hear(line Line) {
	if len(d.tables) == 0 {
		return
	}
	count := uint32(min(line.Count, math.MaxUint16))
	credited := false
	for _, t := range d.tables {
		near := t.plan.Assessment.Fullness >= d.limits.Levels.NearMax
		if line.Named && t.netns == line.NetNS || !line.Named && near {
			t.full += count
			d.recordLine(t, line)
			credited = true
		}
	}
	switch first := d.tables[0]; {
	case credited:
	case line.Named:
		first.elsewhere += count
		d.recordLine(first, line)
	default:
		first.full += count
		d.recordLine(first, line)
	}
}

// share gives the other tables what is one value for the whole host.
func (d *Daemon) share(from *table) {
	for _, t := range d.tables {
		t.state.Max, t.state.Buckets = from.state.Max, from.state.Buckets
		t.state.LastResize = from.state.LastResize
		t.state.Acts, t.state.ActsNext = from.state.Acts, from.state.ActsNext
	}
}

func (d *Daemon) kept() map[uint32]Kept {
	kept := make(map[uint32]Kept, len(d.tables))
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
	due := t.censusAt == 0 || now.Since(t.censusAt) >= censusEvery
	if d.edges.Census == nil || t.counting || !due || !kernel.Entries || t.plan.Assessment.Level == policy.Calm {
		return
	}
	t.counting = true
	o := t.plan.Assessment.Observation
	go func() {
		summary, err := d.edges.Census(ctx, o)
		select {
		case d.censuses <- counted{netns: o.Table.NetNS, at: now, summary: summary, err: err}:
		case <-ctx.Done():
		}
	}()
}

func (d *Daemon) counted(c counted) {
	d.told("census", c.err)
	for _, t := range d.tables {
		if t.netns != c.netns {
			continue
		}
		t.counting = false
		t.censusAt = c.at
		if c.err == nil {
			t.census = c.summary
			d.recordCensus(t)
		}
	}
}
