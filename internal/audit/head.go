package audit

import "github.com/ctwarden/ctwarden/internal/record"

// A Head names one record of a chain: usually the last one, noted outside of
// the log so that a later rewriting of the log can be proved. The zero Head
// is the point before the first record.
type Head struct {
	Seq  uint64      `json:"seq"`
	Hash record.Hash `json:"hash"`
}
