package incident

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// MergeWithin is how soon after the end of an incident another one of the same
// table is its continuation: a load that comes in waves is one incident.
const MergeWithin = 10 * time.Minute

// The most that is kept of one incident.
const (
	maxDecisions = 2000
	maxGaps      = 50
	maxSamples   = 16
	maxNames     = 100
	maxTop       = 10
)

// A Grouper groups events into incidents. It is fed the records of a log,
// oldest first; the rules are:
//
//   - An incident begins with its incident.open record, or with the first
//     record that names it, if the log has lost the beginning (Partial).
//   - A record that names an incident belongs to it. One that names none
//     belongs to the open incident of its namespace: of all, if it names no
//     namespace either.
//   - incident.close ends it. Samples and verdicts that come later are still
//     its own.
//   - A restart of the daemon does not end it. A start in another boot does,
//     and so does the beginning of another incident of the same namespace:
//     Interrupted.
//   - An incident that begins within MergeWithin of the end of the one before
//     in the same namespace and boot continues it.
//   - An incident that nothing ends is Open.
//
// The zero Grouper is ready and keeps every incident whole.
type Grouper struct {
	// Depth is how much is kept of each incident.
	Depth Depth
	// Keep is how many of the newest incidents to keep; 0 keeps all.
	Keep int
	// AlwaysKeep is the name of one to keep whatever Keep is.
	AlwaysKeep string

	// one, if set, is the only incident that is wanted.
	only      *Incident
	incidents []*Incident
	dropped   int
	open      map[uint32]*Incident // by namespace
	names     map[string]*Incident // nil: it was forgotten
	changes   openChanges
	daemon    record.Start
	limits    *policy.Limits // of the last config record
	digest    string         // of these limits
	skimmer   record.Skimmer
}

// An Event is one record of the audit log.
type Event struct {
	Seq  uint64
	Time time.Time
	Kind record.Kind
	// Line is the whole record, a JSON object. It is not kept.
	Line []byte
}

// A Depth is how much is kept of an incident. A long log is read faster and in
// less memory for less.
type Depth uint8

// The depths.
const (
	// Whole keeps everything.
	Whole Depth = iota
	// Summary keeps what a list shows: no decisions, no censuses, a short curve.
	Summary
	// Outline keeps when and how each began and ended, and what it changed
	// that was not restored: no curve, no losses.
	Outline
)

// Whole returns a Grouper that keeps this incident whole, and no other. It is
// to be fed again with the records of the log from i.Seq to i.LastSeq.
func (i *Incident) Whole() *Grouper {
	return &Grouper{
		only: i, daemon: record.Start{Version: i.Version, Kernel: i.Kernel, Boot: i.boot, Mode: i.Mode},
		limits: i.limits, digest: i.digest,
	}
}

// Points kept of a curve: for a graph on paper, and for a line of a list.
const (
	curvePoints = 2048
	sparkPoints = 24
)

// Add takes the next event. An event that it can't read is a gap in the
// incidents that are open, and no error.
func (g *Grouper) Add(e Event) {
	if g.open == nil {
		g.open, g.names, g.changes = map[uint32]*Incident{}, map[string]*Incident{}, openChanges{}
	}
	switch e.Kind {
	case record.KindStop, record.KindMissed:
		return
	case record.KindGap:
		g.addGap(&e, "records are missing from the log here: see ctwarden audit verify")
		return
	}
	p, err := g.decode(&e)
	if err != nil {
		g.addGap(&e, fmt.Sprintf("record %d (%s) can't be read: %v", e.Seq, e.Kind, err))
		if e.Kind == record.KindConfig {
			g.limits = nil
		}
		// A later version may name causes and actions that this one does not
		// know. The readable part of such a record counts.
		if p, err = g.skimmer.Skim(e.Kind, e.Line); err != nil {
			return
		}
	}
	g.apply(e, p)
}

// decode reads as much of a record as is kept of it.
func (g *Grouper) decode(e *Event) (record.Payload, error) {
	g.skimmer.NoReadings = g.Depth == Outline
	if g.Depth == Whole && e.Kind != record.KindSample {
		return record.Decode(e.Kind, e.Line)
	}
	return g.skimmer.Skim(e.Kind, e.Line)
}

// Damaged notes a line of the log that is no record.
func (g *Grouper) Damaged(err error) { g.addGap(&Event{}, err.Error()) }

// addGap adds a gap, something missing, to every open incident.
func (g *Grouper) addGap(e *Event, text string) {
	for _, i := range g.open {
		if i.Status != Open {
			continue
		}
		if len(i.Gaps) < maxGaps {
			i.Gaps = append(i.Gaps, text)
		}
		i.noteRecord(e)
	}
}

// Newest yields what was found, newest first. The Grouper may be fed further
// afterwards.
func (g *Grouper) Newest() iter.Seq[Incident] {
	return func(yield func(Incident) bool) {
		for _, i := range slices.Backward(g.incidents) {
			if !yield(g.finished(i)) {
				return
			}
		}
	}
}

// Len returns how many incidents were kept.
func (g *Grouper) Len() int { return len(g.incidents) }

// Dropped returns how many incidents were not kept.
func (g *Grouper) Dropped() int { return g.dropped }

// Find returns the incident of that name.
func (g *Grouper) Find(id string) (Incident, bool) {
	i := g.names[id]
	if i == nil {
		return Incident{}, false
	}
	return g.finished(i), true
}

// finished returns a copy of an incident with what is known only at the end.
func (g *Grouper) finished(i *Incident) Incident {
	out := *i
	out.Duration = out.End.Sub(out.Start)
	if i.closedAt > i.openedAt && i.openedAt > 0 {
		out.Duration = i.closedAt.Since(i.openedAt)
	}
	out.Duration = max(out.Duration, 0)
	most := 0
	for _, c := range i.Causes {
		if n := i.votes[c&15]; n > most && c != policy.Unknown {
			out.Cause, most = c, n
		}
	}
	if most == 0 && len(i.Causes) > 0 {
		out.Cause = i.Causes[0]
	}
	out.Changed = g.changes.of(i)
	if !i.compacted {
		out.setCurve(g.maxPoints())
	}
	if g.Depth == Whole {
		out.Limits = i.limits
	}
	return out
}

// compact draws the short curve of an incident that can't be continued any
// more, and lets go of what it is drawn from: a long log has tens of thousands.
// Readings that come later still are passed over.
func (g *Grouper) compact(i *Incident) {
	if g.Depth != Summary || i == nil || i.compacted {
		return
	}
	i.setCurve(g.maxPoints())
	i.fromSamples, i.fromRecords, i.limits, i.compacted = curve{}, curve{}, nil, true
}

// incidentOf returns the incident that a record is about: the one it names, or
// else the open one of its namespace.
func (g *Grouper) incidentOf(id string, netns uint32, e *Event) *Incident {
	if id == "" {
		return g.open[netns]
	}
	if i, known := g.names[id]; known {
		return i
	}
	if g.only != nil && !g.only.hasID(id) {
		return nil
	}
	i := g.begin(id, netns, e)
	if i.ID == id {
		i.Partial = true
	}
	return i
}

// noteIncidentOf returns the incident that a record is about, and notes the record; nil
// if there is none.
func (g *Grouper) noteIncidentOf(id string, netns uint32, e *Event) *Incident {
	i := g.incidentOf(id, netns, e)
	if i != nil {
		i.noteRecord(e)
	}
	return i
}

// begin begins an incident, or continues the one before.
func (g *Grouper) begin(id string, netns uint32, e *Event) *Incident {
	at := e.Time
	before := g.open[netns]
	if before != nil && before.Status == Open {
		before.Status = Interrupted
	}
	if before != nil && before.boot == g.daemon.Boot && !at.Before(before.Start) && at.Sub(before.End) <= MergeWithin &&
		len(before.Merged) < maxNames {
		before.Merged = append(before.Merged, id)
		before.Status = Open
		g.names[id] = before
		return before
	}
	g.compact(before)
	i := &Incident{
		ID: id, NetNS: netns, Status: Open, Seq: e.Seq, Start: at, End: at, boot: g.daemon.Boot,
		Version: g.daemon.Version, Kernel: g.daemon.Kernel, Mode: g.daemon.Mode, limits: g.limits, digest: g.digest,
	}
	g.incidents = append(g.incidents, i)
	g.open[netns], g.names[i.ID] = i, i
	if g.Keep > 0 && len(g.incidents) > g.Keep {
		g.forget(at)
	}
	return i
}

// forget drops the oldest incident that neither goes on nor may be continued.
func (g *Grouper) forget(now time.Time) {
	at := slices.IndexFunc(g.incidents[:len(g.incidents)-g.Keep], func(i *Incident) bool {
		current := g.open[i.NetNS] == i && (i.Status == Open || now.Sub(i.End) <= MergeWithin)
		return !current && (g.AlwaysKeep == "" || !i.hasID(g.AlwaysKeep))
	})
	if at < 0 {
		return
	}
	old := g.incidents[at]
	g.incidents = slices.Delete(g.incidents, at, at+1)
	g.dropped++
	g.names[old.ID] = nil // a late record of it is not the beginning of another
	for _, id := range old.Merged {
		g.names[id] = nil
	}
	if g.open[old.NetNS] == old {
		delete(g.open, old.NetNS)
	}
}

// noteRecord notes a record of an incident, and moves the end of one that has not
// ended.
func (i *Incident) noteRecord(e *Event) {
	i.LastSeq = max(i.LastSeq, e.Seq)
	if i.Status == Open && e.Time.After(i.End) {
		i.End = e.Time
	}
}

// noteBootTime notes when something happened by the clock since boot.
func (i *Incident) noteBootTime(m policy.BootTime) {
	if m == 0 {
		return
	}
	if i.openedAt == 0 {
		i.openedAt = m
	}
	if i.Status == Open || i.closedAt == 0 {
		i.closedAt = max(i.closedAt, m)
	}
}

// noteCause notes the cause that a decision names.
func (i *Incident) noteCause(c policy.Cause) {
	if c == policy.NoCause || int(c) >= len(i.votes) {
		return
	}
	if i.votes[c] == 0 {
		i.Causes = append(i.Causes, c)
	}
	i.votes[c]++
}

// appendDecision adds a decision; it only counts a repeated hold or kernel line.
func (i *Incident) appendDecision(d Decision) *Decision {
	if n := len(i.Decisions); n > 0 {
		last := &i.Decisions[n-1]
		same := last.Kind == d.Kind && last.Action == nil && d.Action == nil && last.Hold == d.Hold
		if same && (d.Kind == Held || d.Kind == KernelLine) {
			last.Repeats++
			return last
		}
	}
	if len(i.Decisions) == maxDecisions {
		i.Omitted++
		return nil
	}
	i.Decisions = append(i.Decisions, d)
	return &i.Decisions[len(i.Decisions)-1]
}

// setCurve takes the curve, of at most so many points, and what was lost from the
// flight recorder where there is one, and else from the other records.
func (i *Incident) setCurve(most int) {
	t := &i.fromSamples
	if len(t.points) < 2 {
		t = &i.fromRecords
	}
	if len(t.points) == 0 {
		return
	}
	i.First, i.Last, i.Losses = t.points[0], t.points[len(t.points)-1], t.losses
	i.Peak = peak(t.points)
	i.Curve = t.atMost(most)
	if p := peak(i.fromRecords.points); conntrack.Fuller(p.Entries, p.Max, i.Peak.Entries, i.Peak.Max) {
		i.Peak = p
	}
}
