package tablesim

import (
	"math/bits"
	"time"
)

// A cohort is a number of entries of one kind whose last packets came within
// Width, evenly spread. Times are since the scenario began.
type cohort struct {
	n       uint64
	last    time.Duration // the last packet of the first of them
	expires time.Duration // when the first of them expires, or closes
	width   time.Duration
}

// cohortWidth bounds how much is merged into one cohort, of entries that live
// for a few minutes; for those that live long it is a thousandth of their span.
const cohortWidth = 250 * time.Millisecond

// A queue holds the cohorts of one kind that live for the same span, in the
// order of their expiry.
type queue struct {
	kind kind
	// live entries have traffic for span; the others expire after span.
	live bool
	span time.Duration

	cohorts []cohort
	head    int
}

// push adds n entries whose last packets came from at on, within width.
func (q *queue) push(n uint64, at, width time.Duration) {
	q.insert(cohort{n: n, last: at, expires: at + q.span, width: width})
}

func (q *queue) insert(c cohort) {
	if last := len(q.cohorts) - 1; last >= q.head {
		tail := &q.cohorts[last]
		end := max(tail.expires+tail.width, c.expires+c.width)
		if tail.expires <= c.expires && end-tail.expires <= max(cohortWidth, c.width, q.span/1000) {
			tail.n += c.n
			tail.width = end - tail.expires
			return
		}
	}
	if q.head > 64 && q.head > len(q.cohorts)/2 {
		q.cohorts = q.cohorts[:copy(q.cohorts, q.cohorts[q.head:])]
		q.head = 0
	}
	q.cohorts = append(q.cohorts, c)
}

// all returns the cohorts in the queue.
func (q *queue) all() []cohort { return q.cohorts[q.head:] }

func (q *queue) empty() bool { return q.head == len(q.cohorts) }

// due takes the entries off the queue whose time has come by now, at most one
// cohort. It reports when the first of them was due, within which width; ok is
// false when none is.
func (q *queue) due(now time.Duration) (c cohort, ok bool) {
	for q.head < len(q.cohorts) && q.cohorts[q.head].n == 0 {
		q.head++
	}
	if q.empty() {
		q.cohorts, q.head = q.cohorts[:0], 0
		return cohort{}, false
	}
	first := &q.cohorts[q.head]
	switch {
	case first.expires >= now:
		return cohort{}, false
	case first.expires+first.width <= now:
		c = *first
		q.head++
		return c, true
	}
	part := now - first.expires
	c = cohort{n: scale(first.n, uint64(part), uint64(first.width)), last: first.last, expires: first.expires, width: part}
	if c.n == 0 {
		return cohort{}, false
	}
	first.n -= c.n
	first.last += part
	first.expires += part
	first.width -= part
	return c, true
}

// scale returns n*part/whole without overflow; part <= whole.
func scale(n, part, whole uint64) uint64 {
	if whole == 0 {
		return 0
	}
	hi, lo := bits.Mul64(n, part)
	quotient, _ := bits.Div64(hi%whole, lo, whole)
	return quotient
}
