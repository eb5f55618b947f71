package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
)

// A ProblemKind is a kind of defect of a log.
type ProblemKind string

// The problems.
const (
	// Altered: the record is not what the log wrote. Either its own hash no
	// longer fits its text, or the next record carries another hash for it.
	Altered ProblemKind = "altered"
	// Removed: the records Seq to To are missing.
	Removed ProblemKind = "removed"
	// Inserted: the line was not written by the log, or is a copy.
	Inserted ProblemKind = "inserted"
	// Reordered: the record is not in its place.
	Reordered ProblemKind = "reordered"
	// Rewritten: the chain is whole, but from this record at the latest it
	// is another one than was noted elsewhere.
	Rewritten ProblemKind = "rewritten"
	// Torn: the last line has no end. The log heals it when it is opened
	// next, unless it is being written this moment.
	Torn ProblemKind = "torn"
	// Damaged: whole lines were moved aside when the log was opened, or a
	// packed segment can't be unpacked to its end.
	Damaged ProblemKind = "damaged"
	// Disputed: Redecide came to another decision.
	Disputed ProblemKind = "disputed"
)

// A Problem is one finding, with its place.
type Problem struct {
	Kind ProblemKind `json:"problem"`
	// Seq is the record concerned, and To the last one of several.
	Seq uint64 `json:"seq"`
	To  uint64 `json:"to,omitempty"`
	// File and Line are where it shows; empty for what is not there.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Text is one sentence for people.
	Text string `json:"text"`
}

// String returns the problem in one line, for people.
func (p Problem) String() string {
	where := ""
	if p.File != "" {
		where = fmt.Sprintf(" (%s line %d)", audit.Sanitise(p.File), p.Line)
	}
	if p.To > p.Seq {
		return fmt.Sprintf("records %d to %d %s%s: %s", p.Seq, p.To, p.Kind, where, audit.Sanitise(p.Text))
	}
	return fmt.Sprintf("record %d %s%s: %s", p.Seq, p.Kind, where, audit.Sanitise(p.Text))
}

// A Result has the findings of a verification. Its JSON is a contract.
type Result struct {
	// Records counts the intact ones.
	Records uint64 `json:"records"`
	// First and Last are the ends of the log.
	First audit.Checkpoint `json:"first"`
	Last  audit.Checkpoint `json:"last"`
	// Segments counts the files read.
	Segments int `json:"segments"`
	// Explained are the gaps that the log itself recorded: torn lines,
	// records that only the mirror has, segments removed by retention.
	Explained []record.Gap `json:"explained,omitempty"`
	// Problems are in the order of their records. More counts those beyond
	// Verifier.MaxProblems.
	Problems []Problem `json:"problems,omitempty"`
	More     uint64    `json:"more,omitempty"`
	// NotRedecided counts the plans of other policy versions, in their order.
	NotRedecided []OtherPolicy `json:"not_redecided,omitempty"`
}

// OK reports whether there are no problems.
func (r Result) OK() bool { return len(r.Problems) == 0 && r.More == 0 }

// A Verifier checks a log. The zero Verifier checks the chain alone, which
// proves that no part of it was changed; only Known can prove that it was not
// written anew as a whole.
type Verifier struct {
	// Known are records noted elsewhere, such as the CTWARDEN_SEQ and
	// CTWARDEN_HASH of the journal's copies. The last one proves that the
	// tail is there; the more there are, the more exactly a rewriting is
	// located.
	Known []audit.Checkpoint
	// Redecide is called with every intact record, in the order of the
	// files; an error disputes the record. The record is valid during the
	// call.
	Redecide func(audit.Record) error
	// MaxProblems bounds Result.Problems; 0 is 100.
	MaxProblems int
}

// Verify reads the whole log at path in bounded memory. It returns an error
// only for a failed read; problems of the log are in the Result.
func (v Verifier) Verify(ctx context.Context, path string) (Result, error) {
	c := newChain(v)
	segments, err := audit.Lines(ctx, path, func(l *audit.Line) { v.line(l, c) })
	if err != nil {
		return Result{}, fmt.Errorf("verify audit log: %w", err)
	}
	c.result.Segments = segments
	return c.end(), nil
}

func (v Verifier) line(l *audit.Line, c *chain) {
	if errors.Is(l.Err, audit.ErrPacked) {
		c.broken(l.File, l.Number, l.Err)
		return
	}
	r := l.Record
	e := entry{Checkpoint: r.Checkpoint(), prev: r.Prev, file: l.File, line: l.Number, flaw: l.Err}
	if l.Err == nil {
		v.record(r, &e, c)
	}
	c.add(e)
}

func (v Verifier) record(r audit.Record, e *entry, c *chain) {
	if r.Kind == record.KindGap {
		if p, err := r.Payload(); err == nil {
			e.gap, _ = p.(*record.Gap)
		}
	}
	c.result.Records++
	if v.Redecide != nil {
		if err := v.Redecide(r); err != nil {
			c.problem(Disputed, r.Seq, 0, *e, err.Error())
		}
	}
}

// An entry is the part of a line that the chain needs.
type entry struct {
	audit.Checkpoint
	prev record.Hash
	gap  *record.Gap
	file string
	line int
	flaw error // why the line is no intact record; Seq is then a guess or 0
}

func (c *chain) problem(kind ProblemKind, seq, to uint64, e entry, text string) {
	limit := c.maxProblems
	if len(c.result.Problems) >= limit {
		c.result.More++
		return
	}
	c.result.Problems = append(c.result.Problems, Problem{
		Kind: kind, Seq: seq, To: to, File: e.file, Line: e.line, Text: text,
	})
}

func sortProblems(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		switch {
		case a.Seq < b.Seq:
			return -1
		case a.Seq > b.Seq:
			return 1
		}
		return 0
	})
}
