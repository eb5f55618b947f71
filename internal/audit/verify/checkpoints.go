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

// ParseHead reads a record known from elsewhere, as SEQ:HASH.
func ParseHead(text string) (audit.Head, error) {
	var head audit.Head
	seq, hash, found := strings.Cut(text, ":")
	number, err := strconv.ParseUint(seq, 10, 64)
	if err != nil || !found {
		return head, fmt.Errorf("%q: expected SEQ:HASH", text)
	}
	head.Seq = number
	head.Hash, err = record.ParseHash(hash)
	return head, err
}

// longestEntry bounds an entry of the journal in JSON: a record of 64 KiB in
// one of its fields, escaped.
const longestEntry = 1 << 20

// ReadJournal takes the numbers and hashes from what "journalctl -o json"
// prints. Entries that are no copies of records are passed over.
func ReadJournal(r io.Reader) ([]audit.Head, error) {
	var heads []audit.Head
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
		head, err := ParseHead(seq + ":" + hash)
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		heads = append(heads, head)
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return heads, nil
}
