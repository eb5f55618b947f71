package verify

import (
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"slices"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
)

// maxOdd bounds what the chain remembers of a log that is wrong in many
// places: lines, early records and holes.
const maxOdd = 4096

// A chain follows the records of a log from one to the next and, where they do
// not join, finds the change that was made. It holds one line back.
type chain struct {
	result      Result
	maxProblems int
	known       []audit.Checkpoint // sorted, not yet passed
	differs     bool               // a known record was found to be another

	unread  []entry // of files that can't be read at all
	queued  *entry  // the line before the one added last
	started bool
	want    uint64      // the sequence number that comes next
	head    record.Hash // the hash of the record before, if joined
	joined  bool        // head is known
	before  record.Hash // the hash that the last record carries as its prev
	last    entry       // the last record in its place

	bad   []entry           // damaged lines since the last good record
	early map[uint64]entry  // good records that came before their turn
	holes []span            // missing so far
	start *audit.Checkpoint // what the first record follows, until explained
}

// A span is the records from to to, and what joins it to the rest.
type span struct {
	from, to uint64
	place    entry // the record that follows the hole
}

func newChain(v Verifier) *chain {
	c := &chain{maxProblems: v.MaxProblems, early: make(map[uint64]entry), known: slices.Clone(v.Known)}
	if c.maxProblems <= 0 {
		c.maxProblems = 100
	}
	slices.SortFunc(c.known, func(a, b audit.Checkpoint) int { return cmp.Compare(a.Seq, b.Seq) })
	return c
}

// add takes the next line.
func (c *chain) add(e entry) {
	if c.queued != nil {
		c.step(*c.queued, &e)
	}
	c.queued = &e
}

// broken notes that a file can't be read on from that line. The records that
// are missing for it are found by the next one.
func (c *chain) broken(file string, line int, err error) {
	seq := c.want
	if c.queued != nil && c.queued.flaw == nil {
		seq = c.queued.Seq + 1
	}
	e := entry{file: file, line: line, flaw: err}
	switch {
	case line == 1: // where its records belong is known in the end
		c.unread = append(c.unread, e)
		return
	case errors.Is(err, gzip.ErrChecksum): // all of it was read
		seq, e.line = max(seq, 2)-1, line-1
	}
	c.problem(Damaged, seq, 0, e, err.Error())
}

// placeUnread names the files of which nothing could be read by the records
// that are missing: the first of them by the first ones.
func (c *chain) placeUnread() {
	places := make([]uint64, 0, len(c.holes)+1)
	if c.start != nil {
		places = append(places, 1)
	}
	for _, h := range c.holes {
		places = append(places, h.from)
	}
	slices.Sort(places)
	for n, e := range c.unread {
		seq := max(c.want, 1)
		if n < len(places) {
			seq = places[n]
		}
		c.problem(Damaged, seq, 0, e, e.flaw.Error())
	}
}

// end takes the end of the log and returns the result.
func (c *chain) end() Result {
	if c.queued != nil {
		c.step(*c.queued, nil)
	}
	c.endBad()
	for _, e := range c.early {
		if e.Seq < c.want {
			c.problem(Inserted, e.Seq, 0, e, "a second copy, out of its place")
		} else {
			c.problem(Reordered, e.Seq, 0, e, fmt.Sprintf("comes before its turn, and record %d is the last in order", c.last.Seq))
		}
	}
	for _, h := range c.holes {
		c.problem(Removed, h.from, h.to, h.place, fmt.Sprintf("missing before record %d", h.to+1))
	}
	c.placeUnread()
	if c.start != nil {
		c.problem(Removed, 1, c.start.Seq, entry{}, "missing at the beginning, and no retention record names them")
	}
	if n := len(c.known); n > 0 && c.known[n-1].Seq > c.result.Last.Seq {
		c.problem(Removed, c.result.Last.Seq+1, c.known[n-1].Seq, entry{}, "missing at the end: the last one is known from elsewhere")
	}
	sortProblems(c.result.Problems)
	return c.result
}

func (c *chain) step(cur entry, next *entry) {
	if cur.flaw != nil {
		if len(c.bad) < maxOdd {
			c.bad = append(c.bad, cur)
		} else {
			c.problem(Altered, cur.Seq, 0, cur, cur.flaw.Error())
		}
		return
	}
	if !c.started {
		c.begin(cur, next)
	}
	if len(c.bad) == 0 {
		c.takeEarly(cur)
	}
	switch {
	case cur.Seq == c.want:
		c.dropBad("no record belongs there")
		c.join(cur)
	case cur.Seq > c.want:
		c.ahead(cur, next)
	default:
		c.dropBad("no record belongs there")
		c.behind(cur, next)
	}
}

// begin finds the record with which the log should begin.
func (c *chain) begin(cur entry, next *entry) {
	c.started = true
	c.want = cur.Seq - min(uint64(len(c.bad)), cur.Seq-1)
	if next != nil && next.flaw == nil && len(c.bad) == 0 && next.Seq < cur.Seq {
		c.want = next.Seq
		cur = *next
	}
	c.joined = c.want == 1
	if c.want > 1 {
		c.start = &audit.Checkpoint{Seq: c.want - 1}
		if cur.Seq == c.want {
			c.start.Hash = cur.prev
		}
	}
}

// join takes cur as the record that comes next.
func (c *chain) join(cur entry) {
	if c.joined && cur.prev != c.head {
		if cur.Seq == 1 {
			c.problem(Altered, 1, 0, cur, "the first record follows another one")
		} else {
			c.problem(Altered, cur.Seq-1, 0, c.last, fmt.Sprintf("record %d follows another record %d than this one", cur.Seq, cur.Seq-1))
		}
	}
	c.accept(cur)
}

// accept makes cur the last record in its place.
func (c *chain) accept(cur entry) {
	c.want, c.head, c.joined, c.before, c.last = cur.Seq+1, cur.Hash, true, cur.prev, cur
	if c.result.First == (audit.Checkpoint{}) {
		c.result.First = cur.Checkpoint
	}
	c.result.Last = cur.Checkpoint
	c.compareKnown(cur)
	if cur.gap != nil {
		c.explain(cur)
	}
}

func (c *chain) compareKnown(cur entry) {
	for len(c.known) > 0 && c.known[0].Seq <= cur.Seq {
		k := c.known[0]
		c.known = c.known[1:]
		other := k.Seq == cur.Seq && k.Hash != cur.Hash
		// Behind a gap, the record carries the hash of one that is not here.
		other = other || (k.Seq+1 == cur.Seq && k.Hash != cur.prev)
		if other && !c.differs {
			c.differs = true
			c.problem(Rewritten, k.Seq, 0, cur, fmt.Sprintf("its hash is known as %s: this record or earlier ones, and what follows, were written anew", k.Hash))
		}
	}
}

// explain accepts the log's own records of what it does not hold.
func (c *chain) explain(cur entry) {
	g := *cur.gap
	switch g.Reason {
	case record.GapDamaged, record.GapForeign:
		c.problem(Damaged, cur.Seq, 0, cur, fmt.Sprintf("%d bytes that were no records were moved to %s", g.Bytes, g.File))
		return
	case record.GapRetention:
		for _, s := range g.Segments {
			if c.start != nil && *c.start == (audit.Checkpoint{Seq: s.Last, Hash: s.LastHash}) {
				c.start = nil
			}
		}
	}
	if len(c.result.Explained) < maxOdd {
		c.result.Explained = append(c.result.Explained, g)
	}
}

// takeEarly moves on over records that stood before their turn.
func (c *chain) takeEarly(cur entry) {
	for cur.Seq > c.want {
		e, ok := c.early[c.want]
		if !ok {
			return
		}
		delete(c.early, c.want)
		c.problem(Reordered, e.Seq, 0, e, fmt.Sprintf("belongs behind record %d", e.Seq-1))
		c.join(e)
	}
}

// ahead takes a record whose turn has not come.
func (c *chain) ahead(cur entry, next *entry) {
	switch {
	case len(c.bad) > 0:
		c.placeBad(cur.Seq)
		c.accept(cur)
	case c.bridges(cur):
		if cur.gap.Reason == record.GapCut {
			c.problem(Removed, cur.gap.From, cur.gap.To, cur, "missing: the file was made shorter while the log was open")
		}
		c.accept(cur)
	case next != nil && next.flaw == nil && next.Seq == c.want && len(c.early) < maxOdd:
		c.early[cur.Seq] = cur
	case next != nil && next.flaw == nil && next.Seq == c.want+1 && cur.Seq > c.want+1 && len(c.early) < maxOdd:
		// It stands in the place of another: two records were swapped.
		c.early[cur.Seq] = cur
		c.hole(c.want, c.want, cur)
		c.want++
		c.joined = false
	default:
		c.hole(c.want, cur.Seq-1, cur)
		c.accept(cur)
	}
}

// bridges reports whether cur is the log's own record of the gap before it.
func (c *chain) bridges(cur entry) bool {
	g := cur.gap
	return g != nil && (g.Reason == record.GapNotDurable || g.Reason == record.GapCut) && g.From == c.want && g.To == cur.Seq-1 &&
		g.After != nil && (!c.joined || *g.After == c.head)
}

func (c *chain) hole(from, to uint64, place entry) {
	if len(c.holes) >= maxOdd {
		c.problem(Removed, from, to, place, "missing")
		return
	}
	c.holes = append(c.holes, span{from: from, to: to, place: place})
}

// behind takes a record whose turn has passed.
func (c *chain) behind(cur entry, next *entry) {
	if c.fillHole(cur.Seq) {
		c.problem(Reordered, cur.Seq, 0, cur, fmt.Sprintf("stands behind record %d", c.last.Seq))
		return
	}
	fork := cur.Seq+1 == c.want && cur.prev == c.before && cur.Hash != c.head
	if fork && next != nil && next.flaw == nil && next.prev == cur.Hash {
		// The chain goes on from this one, so the other was inserted.
		c.problem(Inserted, c.last.Seq, 0, c.last, fmt.Sprintf("record %d also stands at %s line %d, where the chain goes on", cur.Seq, cur.file, cur.line))
		c.head, c.last, c.result.Last = cur.Hash, cur, cur.Checkpoint
		return
	}
	c.problem(Inserted, cur.Seq, 0, cur, fmt.Sprintf("there is a record %d already", cur.Seq))
}

// fillHole takes one record out of the holes.
func (c *chain) fillHole(seq uint64) bool {
	for i, h := range c.holes {
		if seq < h.from || seq > h.to {
			continue
		}
		c.holes = slices.Delete(c.holes, i, i+1)
		if seq > h.from {
			c.holes = append(c.holes, span{from: h.from, to: seq - 1, place: h.place})
		}
		if seq < h.to {
			c.holes = append(c.holes, span{from: seq + 1, to: h.to, place: h.place})
		}
		return true
	}
	return false
}

// dropBad calls the damaged lines inserted: the records around them join.
func (c *chain) dropBad(text string) {
	for _, e := range c.bad {
		seq := e.Seq
		if seq == 0 {
			seq = c.want
		}
		c.problem(Inserted, seq, 0, e, fmt.Sprintf("%v, and %s", e.flaw, text))
	}
	c.bad = c.bad[:0]
}

// placeBad gives the damaged lines the numbers that are missing before
// record end, by what can be read of them, else in order.
func (c *chain) placeBad(end uint64) {
	for i, e := range c.bad {
		rest := uint64(len(c.bad) - i - 1)
		seq := c.want
		if e.Seq > c.want && e.Seq < end && end-e.Seq > rest {
			seq = e.Seq
		}
		if seq >= end {
			c.problem(Inserted, seq, 0, e, e.flaw.Error())
			continue
		}
		if seq > c.want {
			c.hole(c.want, seq-1, e)
		}
		c.problem(Altered, seq, 0, e, e.flaw.Error())
		c.want = seq + 1
	}
	c.bad = c.bad[:0]
	if c.want < end {
		c.hole(c.want, end-1, entry{})
	}
	c.want, c.joined = end, false
}

// endBad takes damaged lines at the very end.
func (c *chain) endBad() {
	if !c.started {
		c.want = 1
	}
	for _, e := range c.bad {
		kind := Altered
		if errors.Is(e.flaw, audit.ErrTorn) {
			kind = Torn
		}
		c.problem(kind, c.want, 0, e, e.flaw.Error())
		c.want++
	}
	c.bad = nil
}
