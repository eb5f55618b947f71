package record

import (
	"fmt"
	"strings"
)

// A GapReason is the reason of a gap record.
type GapReason string

// The reasons.
const (
	// GapTorn: the last line of the file was incomplete when the log was
	// opened; its bytes are in File.
	GapTorn GapReason = "torn"
	// GapDamaged: whole lines at the end of the file were no records when
	// the log was opened; their bytes are in File.
	GapDamaged GapReason = "damaged"
	// GapForeign: another program wrote the file or appended to it; its bytes
	// are in File.
	GapForeign GapReason = "foreign"
	// GapNotDurable: the file could not be written for a while. Lost records
	// exist nowhere; the records From to To exist in the mirror only.
	GapNotDurable GapReason = "not_durable"
	// GapCut: the file became shorter while it was being written; the
	// records From to To were in it.
	GapCut GapReason = "cut"
	// GapRetention: Segments are removed, because of their age or of the
	// size of all.
	GapRetention GapReason = "retention"
)

// A Gap is the payload of a gap record, by which the log itself records what it
// does not hold.
type Gap struct {
	Reason GapReason `json:"reason"`
	// Lost counts records that were refused because they could be made
	// durable nowhere. They have no sequence numbers.
	Lost uint64 `json:"lost,omitempty"`
	// From and To are the sequence numbers that this file does not hold.
	From uint64 `json:"from,omitempty"`
	To   uint64 `json:"to,omitempty"`
	// After is the hash of record From-1, which is the last one before the
	// gap; Prev of the gap record is the hash of record To.
	After *Hash `json:"after,omitempty"`
	// Bytes counts those moved to File, a name in the log's directory.
	Bytes int64  `json:"bytes,omitempty"`
	File  string `json:"file,omitempty"`
	// Error is the first error that led to the gap.
	Error string `json:"error,omitempty"`
	// Segments are those removed, oldest first.
	Segments []RemovedSegment `json:"segments,omitempty"`
}

// A RemovedSegment names the records that left with a segment. LastHash lets a
// verifier join the chain to the oldest segment that is left.
type RemovedSegment struct {
	File     string `json:"file"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	LastHash Hash   `json:"last_hash"`
	Bytes    int64  `json:"bytes"`
}

// Kind returns KindGap.
func (g *Gap) Kind() Kind { return KindGap }

// Headline returns what is missing. Retention is housekeeping; every other gap
// is a warning.
func (g *Gap) Headline() Headline {
	h := Headline{Priority: Warning, Sentence: g.sentence()}
	if g.Reason == GapRetention {
		h.Priority = Notice
	}
	return h
}

func (g *Gap) sentence() string {
	switch g.Reason {
	case GapTorn, GapDamaged, GapForeign:
		return fmt.Sprintf("%d bytes of the audit log were set aside in %s (%s)", g.Bytes, g.File, g.Reason)
	case GapRetention:
		if n := len(g.Segments); n > 0 {
			return fmt.Sprintf("records %d to %d removed by retention (%d segments)", g.Segments[0].First, g.Segments[n-1].Last, n)
		}
	case GapCut:
		return fmt.Sprintf("records %d to %d are missing: the file was made shorter", g.From, g.To)
	case GapNotDurable:
		var parts []string
		if g.Lost > 0 {
			parts = append(parts, fmt.Sprintf("%d records were lost", g.Lost))
		}
		if g.From > 0 {
			parts = append(parts, fmt.Sprintf("records %d to %d are in the journal only", g.From, g.To))
		}
		return strings.Join(parts, ", ") + ": " + g.Error
	}
	return string(g.Reason)
}
