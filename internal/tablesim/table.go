package tablesim

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A table holds the entries of one network namespace.
type table struct {
	netns    uint32
	timeouts conntrack.Timeouts
	queues   []queue
	// counts are the entries of each kind that have not expired, and expired
	// those that the gc has yet to reap: they still count.
	counts   [numKinds]uint64
	expired  uint64
	counters conntrack.Counters
	full     uint32 // table full lines logged since the last observation
}

// entries is nf_conntrack_count.
func (t *table) entries() uint64 {
	n := t.expired
	for _, c := range t.counts {
		n += c
	}
	return n
}

func (t *table) unassured() uint64 {
	var n uint64
	for k, c := range t.counts {
		if !kind(k).assured() {
			n += c
		}
	}
	return n
}

// queue finds the queue for entries of a kind that live for span, or makes it.
func (t *table) queue(k kind, live bool, span time.Duration) *queue {
	spare := -1
	for i := range t.queues {
		q := &t.queues[i]
		if q.kind == k && q.live == live && q.span == span {
			return q
		}
		if q.empty() {
			spare = i
		}
	}
	q := queue{kind: k, live: live, span: span}
	if spare >= 0 {
		q.cohorts = t.queues[spare].cohorts[:0]
		t.queues[spare] = q
		return &t.queues[spare]
	}
	t.queues = append(t.queues, q)
	return &t.queues[len(t.queues)-1]
}

// add puts n new entries into the table that arrive from at on, within width.
func (t *table) add(c Class, lasts time.Duration, n uint64, at, width time.Duration) {
	k := c.firstKind()
	t.counts[k] += n
	if lasts > 0 {
		t.queue(k, true, lasts).push(n, at, width)
		return
	}
	t.queue(k, false, t.lifetime(k)).push(n, at, width)
}

// lifetime is how long an entry of the kind stays after a packet, by the
// timeouts now in force.
func (t *table) lifetime(k kind) time.Duration {
	return time.Duration(t.timeouts[k.timeout()]) * time.Second
}

// expire lets the time of every entry come that is due by now: traffic ends,
// and what has no traffic expires.
func (t *table) expire(now time.Duration) {
	// By index: a transition may add a queue.
	for i := 0; i < len(t.queues); i++ {
		for t.queues[i].live {
			c, ok := t.queues[i].due(now)
			if !ok {
				break
			}
			k := t.queues[i].kind
			t.counts[k] -= c.n
			k = k.after()
			t.counts[k] += c.n
			t.queue(k, false, t.lifetime(k)).push(c.n, c.expires, c.width)
		}
	}
	for i := range t.queues {
		q := &t.queues[i]
		if q.live {
			continue
		}
		for {
			c, ok := q.due(now)
			if !ok {
				break
			}
			t.counts[q.kind] -= c.n
			t.expired += c.n
		}
	}
}

// A selector reports whether the entries of a cohort are meant.
type selector func(q *queue, c *cohort) bool

// count counts the entries that are meant.
func (t *table) count(m selector) uint64 {
	var n uint64
	for i := range t.queues {
		q := &t.queues[i]
		cohorts := q.all()
		for j := range cohorts {
			if m(q, &cohorts[j]) {
				n += cohorts[j].n
			}
		}
	}
	return n
}

// remove removes up to most of the entries that are meant, evenly from all
// cohorts, as a walk in hash order would. It calls moved with what it took
// from each.
func (t *table) remove(m selector, most uint64, moved func(k kind, n uint64)) uint64 {
	total := t.count(m)
	most = min(most, total)
	if most == 0 {
		return 0
	}
	var seen, taken uint64
	for i := range t.queues {
		q := &t.queues[i]
		cohorts := q.all()
		for j := range cohorts {
			c := &cohorts[j]
			if c.n == 0 || !m(q, c) {
				continue
			}
			seen += c.n
			n := scale(most, seen, total) - taken
			taken += n
			c.n -= n
			t.counts[q.kind] -= n
			if moved != nil {
				moved(q.kind, n)
			}
		}
	}
	return taken
}

// remaining sums up the time until the entries expire, each counted as 1 s at
// least and 5 minutes at most, as the kernel's gc reckons it (gc_worker in
// net/netfilter/nf_conntrack_core.c, Linux 5.19 and later).
func (t *table) remaining(now time.Duration) (sum float64, n uint64) {
	const most = 5 * time.Minute
	for i := range t.queues {
		q := &t.queues[i]
		cohorts := q.all()
		for j := range cohorts {
			left := most
			if !q.live {
				left = min(max(cohorts[j].expires-now, time.Second), most)
			}
			sum += float64(float64(cohorts[j].n) * left.Seconds())
			n += cohorts[j].n
		}
	}
	return sum, n
}
