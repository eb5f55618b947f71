package loop

import (
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// The flight recorder keeps the last five minutes of a table in memory. When
// an incident opens they are recorded, and from then on every second of it.
const (
	ringSize = record.MaxSamples
	// batch is the number of samples in a record: each record is an fsync.
	batch = 10
	// A long incident has fewer samples: a tenth after an hour, a sixth of that
	// after a day. That is 7 MB for the first day, and 1 MB for each further.
	fine, coarse, coarsest = time.Second, 10 * time.Second, time.Minute
	fineFor, coarseFor     = time.Hour, 24 * time.Hour
)

// A recorder is the flight recorder of one table. The zero recorder is empty.
type recorder struct {
	// ring holds the samples before an incident, the oldest at next.
	ring []record.Sample
	next int
	// incident is the open one, since when it began.
	incident string
	since    policy.BootTime
	// pending are the samples of the incident named by owner that are not
	// recorded yet.
	pending []record.Sample
	owner   string
	// open is the sample of the current stretch; it is valid if started.
	open    record.Sample
	started bool
}

// sample adds the observation of this turn to the recorder of its table, and records
// what is due. It comes after the act: nothing waits for a sample.
func (l *Loop) sample(t *table) {
	r := &t.recorder
	a := &t.plan.Assessment
	if !a.Observation.Absent {
		r.add(record.SampleOf(a))
	}
	if t.incident == r.incident {
		if len(r.pending) >= batch {
			l.flush(t)
		}
		return
	}
	if r.incident != "" {
		r.endStretch()
		l.flush(t)
	}
	r.incident, r.since = t.incident, a.Observation.Now
	if r.incident != "" {
		l.flushRing(t)
	}
}

// interval is the length of the stretch that one sample sums up.
func (r *recorder) interval(now policy.BootTime) time.Duration {
	switch age := now.Since(r.since); {
	case r.incident == "" || age < fineFor:
		return fine
	case age < coarseFor:
		return coarse
	}
	return coarsest
}

// add joins a sample to the current stretch, or begins the next one.
func (r *recorder) add(s record.Sample) {
	if r.started && s.At >= r.open.At && s.At.Since(r.open.At) < r.interval(s.At) {
		r.open = r.open.Join(s)
		return
	}
	r.endStretch()
	r.open, r.started = s, true
}

// endStretch ends the open stretch: its sample goes into the ring, or is pending.
func (r *recorder) endStretch() {
	switch {
	case !r.started:
		return
	case r.incident == "" && len(r.ring) < ringSize:
		r.ring = append(r.ring, r.open)
	case r.incident == "":
		r.ring[r.next] = r.open
		r.next = (r.next + 1) % ringSize
	default:
		if r.owner != r.incident {
			r.pending, r.owner = r.pending[:0], r.incident
		}
		if len(r.pending) == record.MaxSamples {
			// The audit log has been refusing records for minutes.
			r.pending = append(r.pending[:0], r.pending[1:]...)
		}
		r.pending = append(r.pending, r.open)
	}
	r.started = false
}

// flushRing records the time before the incident that has just opened.
func (l *Loop) flushRing(t *table) {
	r := &t.recorder
	rows := slices.Concat(r.ring[r.next:], r.ring[:r.next])
	r.ring, r.next = nil, 0
	if len(rows) > 0 {
		l.record(l.samples(t, r.incident, rows, true))
	}
}

// flush records the pending samples. One that can't be recorded stays pending.
func (l *Loop) flush(t *table) {
	r := &t.recorder
	if len(r.pending) == 0 {
		return
	}
	err := l.deps.Record(l.samples(t, r.owner, r.pending, false))
	l.reportOnce("record", err)
	if err == nil {
		r.pending = r.pending[:0]
	}
}

func (l *Loop) samples(t *table, name string, rows []record.Sample, before bool) *record.Samples {
	wall, now := l.deps.Now()
	return &record.Samples{
		Incident: name, NetNS: t.netns, Before: before,
		Wall: wall.Add(-now.Since(rows[0].At)).UTC().Round(time.Millisecond), Rows: rows,
	}
}

// flushAll records the remaining samples of open incidents when the loop ends.
func (l *Loop) flushAll() {
	for _, t := range l.tables {
		if t.recorder.incident != "" {
			t.recorder.endStretch()
		}
		l.flush(t)
	}
}
