package diagnosis

import (
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/internal/advice"
	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// A Diagnosis is what a census has shown and what follows from it. Its JSON is
// a contract.
type Diagnosis struct {
	// From is where the entries were read: "kernel" or "text".
	From string `json:"from"`
	// At is when the table was read; zero for a text.
	At time.Time `json:"at,omitzero"`
	// Name is how the caller named the namespace, where it is another one.
	Name string `json:"netns_name,omitempty"`
	// Table is the reading of the table; of a text only Entries is known.
	Table conntrack.Table `json:"table"`
	// Level is that of the table as it is now; empty for a text.
	Level string `json:"level,omitempty"`
	// Timeouts are those that idle times were computed with.
	Timeouts conntrack.Timeouts `json:"timeouts"`
	Look     Reading            `json:"look"`
	// Census and what follows count entries that were examined. With
	// Census.Sampled they stand for a table of Table.Entries.
	Census census.Summary `json:"census"`
	Make   census.Make    `json:"make"`
	Top    census.Talkers `json:"top"`
	// Cause is what would be wrong if the table filled as it is made now.
	Cause    policy.Cause `json:"cause"`
	Sentence string       `json:"sentence"`
	Evidence []Share      `json:"evidence"`
	// Acts are what ctwarden could do. Their entries are numbers for the
	// whole table, estimated from a sample.
	Acts   []Act         `json:"acts"`
	Advice []advice.Item `json:"advice"`
	// Elsewhere ranks the other network namespaces, where the own one is
	// diagnosed.
	Elsewhere *Elsewhere `json:"elsewhere,omitempty"`
	Notes     []string   `json:"notes"`
}

// A Share is a piece of evidence.
type Share struct {
	Of string `json:"of"`
	// Entries were seen, Share of those examined; Margin as in Reading.
	Entries uint64              `json:"entries"`
	Share   conntrack.Permyriad `json:"share"`
	Margin  conntrack.Permyriad `json:"margin"`
}

// topShown is how many of each kind of talkers are shown.
const topShown = 5

// Diagnose draws the conclusions from what was added. Of an empty table there
// is none but that it is empty.
func (l *Census) Diagnose() *Diagnosis {
	o := &l.Observation
	full := *o
	full.Census, full.CensusAt = l.Census.Summary, o.Now
	a := l.limits.Assess(&policy.State{}, &full)
	found := &Diagnosis{
		From: l.from, At: o.At, Name: l.Name, Table: o.Table, Timeouts: o.Timeouts, Look: l.Reading,
		Census: l.Census.Summary, Make: l.Census.Make, Top: l.Census.Top(topShown),
		Evidence: []Share{}, Acts: []Act{}, Advice: []advice.Item{}, Notes: l.notes(), Elsewhere: l.Elsewhere,
	}
	if l.from == fromKernel {
		found.Level = a.Level.String()
	}
	found.Look.Margin = l.margin(l.Census.Summary.Seen / 2)
	if l.Census.Summary.Seen == 0 {
		found.Sentence = "the table is empty"
		return found
	}
	found.Cause = l.causeIfFull(full)
	found.Evidence = l.evidence()
	found.Sentence = sentenceOf(found.Cause, &l.Census.Summary)
	found.Acts = l.preview(&a)
	facts := l.Facts()
	facts.Cause = found.Cause
	found.Advice = facts.Items()
	return found
}

// Facts are what the permanent fix is made of, without the cause. A text has
// no max, hash or memory.
func (l *Census) Facts() advice.Facts {
	o := &l.Observation
	f := advice.Facts{
		Source: "the table at " + o.At.UTC().Format("2006-01-02 15:04 UTC"), Peak: o.Table.Entries,
		Timeouts: o.Timeouts, Census: l.Census.Summary, Top: l.Census.Top(topShown),
	}
	if l.from == fromKernel {
		a := l.limits.Assess(&policy.State{}, o)
		f.Max, f.Buckets, f.Level, f.Budget = o.Table.Max, o.Table.Buckets, a.Level, a.Budget
	}
	return f
}

// causeIfFull returns the cause by the policy if the table were full of the
// entries that it holds now.
func (l *Census) causeIfFull(o policy.Observation) policy.Cause {
	o.Table.Max = max(o.Table.Entries, 1)
	o.Table.Entries = o.Table.Max
	o.Full, o.Elsewhere = 0, 0
	a := l.limits.Assess(&policy.State{}, &o)
	return a.Cause
}

// evidence lists the shares that the policy uses.
func (l *Census) evidence() []Share {
	s := &l.Census.Summary
	var list []Share
	for _, kind := range []struct {
		of string
		n  uint64
	}{
		{"closing", s.Closing}, {"time_wait", s.TimeWait}, {"half_open", s.HalfOpen}, {"unreplied", s.Unreplied},
		{"established", s.Established}, {"stale", s.Stale}, {"assured", s.Assured}, {"loopback", s.Loopback},
	} {
		list = append(list, Share{kind.of, kind.n, s.Share(kind.n), l.margin(kind.n)})
	}
	return list
}

// margin is by how much the share of n may be off, 95 times in 100.
func (l *Census) margin(n uint64) conntrack.Permyriad {
	const normal = 1.96 // standard errors of a normal distribution
	return conntrack.Permyriad(normal*10000*l.Census.Summary.StandardError(n, l.Observation.Table.Entries) + 0.5)
}

// sentenceOf describes the cause in words.
func sentenceOf(c policy.Cause, s *census.Summary) string {
	p := func(n uint64) string { return s.Share(n).Percent() }
	switch c {
	case policy.Churn:
		return fmt.Sprintf("churn: %s of the entries are connections that are closing, %s in TIME_WAIT; only %s are established",
			p(s.Closing), p(s.TimeWait), p(s.Established))
	case policy.HalfOpen:
		return fmt.Sprintf("half open: %s of the entries are connections that nobody answered", p(s.HalfOpen))
	case policy.Stale:
		return fmt.Sprintf("stale: %s of the entries are established connections that have been silent for more than a day", p(s.Stale))
	}
	return fmt.Sprintf("load: live connections; %s of the entries are assured, %s closing, %s unanswered",
		p(s.Assured), p(s.Closing), p(s.HalfOpen))
}

// notes lists what must be known to read the numbers rightly.
func (l *Census) notes() []string {
	notes := []string{}
	if l.Reading.Resized {
		notes = append(notes, "the hash was resized during the look: entries are missing or were counted twice; look again")
	}
	if l.Blind != nil {
		notes = append(notes, "other network namespaces can't be read: "+l.Blind.Error())
	}
	if l.Reading.Unread > 0 {
		what := "entries"
		if l.from == fromText {
			what = "lines"
		}
		notes = append(notes, fmt.Sprintf("not understood and not counted: %d %s", l.Reading.Unread, what))
	}
	if l.from == fromText {
		notes = append(notes, "a text does not tell max, memory and timeouts: idle times are by the kernel's default timeouts")
	}
	if l.from == fromKernel && !l.Census.Summary.Sampled && l.Observation.Table.Entries > l.Census.Summary.Seen+l.Census.Summary.Seen/100+100 {
		notes = append(notes, fmt.Sprintf("the kernel counts %d entries and shows %d: those that have expired and not been removed, and those held by queued packets, are not shown",
			l.Observation.Table.Entries, l.Census.Summary.Seen))
	}
	return notes
}
