package verify

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
)

// ParseCheckpoint reads a record known from elsewhere, as SEQ:HASH.
func ParseCheckpoint(text string) (audit.Checkpoint, error) {
	var point audit.Checkpoint
	seq, hash, found := strings.Cut(text, ":")
	number, err := strconv.ParseUint(seq, 10, 64)
	if err != nil || !found {
		return point, fmt.Errorf("%q: expected SEQ:HASH", text)
	}
	point.Seq = number
	point.Hash, err = record.ParseHash(hash)
	return point, err
}

// longestEntry bounds an entry of the journal in JSON: a record of 64 KiB in
// one of its fields, escaped.
const longestEntry = 1 << 20

// ReadJournal takes the numbers and hashes from what "journalctl -o json"
// prints. Entries that are no copies of records are passed over.
func ReadJournal(r io.Reader) ([]audit.Checkpoint, error) {
	var checkpoints []audit.Checkpoint
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, longestEntry)
	for scan.Scan() {
		var entry struct {
			Seq  json.RawMessage `json:"CTWARDEN_SEQ"`
			Hash json.RawMessage `json:"CTWARDEN_HASH"`
		}
		if err := json.Unmarshal(scan.Bytes(), &entry); err != nil {
			return nil, fmt.Errorf("read journal: entry %.40q: %w", scan.Text(), err)
		}
		var seq, hash string
		if json.Unmarshal(entry.Seq, &seq) != nil || json.Unmarshal(entry.Hash, &hash) != nil {
			continue
		}
		point, err := ParseCheckpoint(seq + ":" + hash)
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		checkpoints = append(checkpoints, point)
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return checkpoints, nil
}
