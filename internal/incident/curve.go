package incident

import (
	"slices"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// A curve is the course of a table, from one kind of record.
type curve struct {
	points []Point
	limit  int
	// last are the counters as read last, if they were.
	last    conntrack.Counters
	counted bool
	losses  Losses
}

// nearMax is the fullness from which a drop is taken for one of a full table.
const nearMax = conntrack.Permyriad(9000)

// add takes the next reading; one from before the last is known already. The
// first counters are where counting begins; nil if they were not read.
func (t *curve) add(p Point, c *conntrack.Counters) {
	n := len(t.points)
	if n > 0 && p.At < t.points[n-1].At {
		return
	}
	if c != nil {
		if t.counted && n > 0 {
			t.count(&t.points[n-1], &p, c.Since(t.last))
		}
		t.last, t.counted = *c, true
	}
	p.Lost, p.Evicted = t.losses.Packets, t.losses.Evicted
	if n > 0 && p.At == t.points[n-1].At {
		t.points[n-1] = p
		return
	}
	t.points = append(t.points, p)
	if len(t.points) >= t.limit {
		t.halve()
	}
}

func (t *curve) count(before, now *Point, d conntrack.Counters) {
	if max(before.Fullness(), now.Fullness()) >= nearMax {
		t.losses.Packets += d.FullDrops()
	} else {
		t.losses.BelowMax += d.FullDrops()
	}
	t.losses.Evicted += d.EarlyDrop
	t.losses.InsertFailed += d.InsertFailed
	t.losses.Chains += d.ChainTooLong
}

// restart makes the counters begin at zero again.
func (t *curve) restart() { t.last = conntrack.Counters{} }

// halve makes one point of two: the fuller one, with what was lost by the later.
func (t *curve) halve() {
	n := 0
	for i := 0; i+1 < len(t.points); i += 2 {
		a, b := t.points[i], t.points[i+1]
		p := a
		if conntrack.Fuller(b.Entries, b.Max, a.Entries, a.Max) {
			p = b
		}
		p.Lost, p.Evicted, p.Level = b.Lost, b.Evicted, max(a.Level, b.Level)
		t.points[n] = p
		n++
	}
	if len(t.points)%2 == 1 {
		t.points[n] = t.points[len(t.points)-1]
		n++
	}
	t.points = t.points[:n]
}

// atMost returns a copy of the points, joined until there are no more than n.
func (t *curve) atMost(n int) []Point {
	few := curve{points: slices.Clone(t.points)}
	for len(few.points) > n {
		few.halve()
	}
	return slices.Clone(few.points) // of their number, not of their room
}

// peak returns the fullest point.
func peak(points []Point) Point {
	var most Point
	for i := range points {
		if p := &points[i]; i == 0 || conntrack.Fuller(p.Entries, p.Max, most.Entries, most.Max) {
			most = *p
		}
	}
	return most
}

// samplePoint returns the place of a sample in a curve.
func samplePoint(s *record.Samples, i int) (Point, conntrack.Counters) {
	row := &s.Rows[i]
	return Point{
		Time: s.Wall.Add(row.At.Since(s.Rows[0].At)), At: row.At,
		Entries: row.Entries, Max: row.Max, Buckets: row.Buckets, Level: row.Level,
	}, row.Counters
}

// readingPoint returns the place of a verdict's reading in a curve.
func readingPoint(f *policy.Readings, level policy.Level) (Point, conntrack.Counters) {
	return Point{At: f.At, Entries: f.Entries, Max: f.Max, Level: level}, f.Counters
}
