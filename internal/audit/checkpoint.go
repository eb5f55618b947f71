package audit

import "github.com/ctwarden/ctwarden/internal/record"

// A Checkpoint names one record of a chain: usually the last one, noted outside
// of the log so that a later rewriting of the log can be proved. The zero
// Checkpoint is the point before the first record.
type Checkpoint struct {
	Seq  uint64      `json:"seq"`
	Hash record.Hash `json:"hash"`
}
