package remediate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/ctwarden/ctwarden/internal/record"
)

const (
	ledgerVersion = 1
	// historyMost bounds the history of claims that ended.
	historyMost = 64
)

// errTorn reports that the bytes of a ledger can't be trusted.
var errTorn = errors.New("not a whole ledger")

// A Ledger is every value that ctwarden replaced and has not restored. The
// zero Ledger is that of a kernel that ctwarden has not changed. Its methods
// return a new Ledger and leave the old one as it is.
type Ledger struct {
	Entries []Row `json:"entries,omitempty"`
	// History holds the latest claims that ended without a restore.
	History []Released `json:"history,omitempty"`
}

// find returns the row about a sysctl of a namespace.
func (l Ledger) find(sysctl string, netns uint32) (Row, bool) {
	for i := range l.Entries {
		if l.Entries[i].is(sysctl, netns) {
			return l.Entries[i], true
		}
	}
	return Row{}, false
}

// with returns the ledger with e in the place of the row of the same sysctl.
func (l Ledger) with(e Row) Ledger {
	n := l.without(e.Sysctl, e.NetNS)
	n.Entries = append(n.Entries, e)
	return n
}

// without returns the ledger without the row about a sysctl.
func (l Ledger) without(sysctl string, netns uint32) Ledger {
	n := Ledger{History: l.History}
	for i := range l.Entries {
		if !l.Entries[i].is(sysctl, netns) {
			n.Entries = append(n.Entries, l.Entries[i])
		}
	}
	return n
}

// released returns the ledger with the claim e moved to the history.
func (l Ledger) released(e Row, why record.NoteKind, found uint64) Ledger {
	n := l.without(e.Sysctl, e.NetNS)
	n.History = append(slices.Clone(l.History), Released{Row: e, Why: why, Found: found})
	n.History = n.History[max(0, len(n.History)-historyMost):]
	return n
}

// sorted returns the rows in the order in which a revert restores them.
func (l Ledger) sorted() []Row {
	entries := slices.Clone(l.Entries)
	slices.SortStableFunc(entries, func(a, b Row) int { return a.rank() - b.rank() })
	return entries
}

// envelope is the file: the checksum is over the content without white space.
type envelope struct {
	Version  int             `json:"version"`
	Checksum string          `json:"checksum"`
	Content  json.RawMessage `json:"content"`
}

func checksum(content []byte) (string, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, content); err != nil {
		return "", err
	}
	sum := sha256.Sum256(compact.Bytes())
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// encode returns the text of the ledger's file.
func (l Ledger) encode() ([]byte, error) {
	content, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	sum, err := checksum(content)
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(envelope{Version: ledgerVersion, Checksum: sum, Content: content}, "", "  ")
	return append(text, '\n'), err
}

// decodeLedger reads the output of encode, or returns why it can't be trusted.
func decodeLedger(text []byte) (Ledger, error) {
	var file envelope
	if err := json.Unmarshal(text, &file); err != nil {
		return Ledger{}, fmt.Errorf("%w: %w", errTorn, err)
	}
	if file.Version != ledgerVersion {
		return Ledger{}, fmt.Errorf("%w: version %d, this program writes %d", errTorn, file.Version, ledgerVersion)
	}
	sum, err := checksum(file.Content)
	if err != nil {
		return Ledger{}, fmt.Errorf("%w: %w", errTorn, err)
	}
	if sum != file.Checksum {
		return Ledger{}, fmt.Errorf("%w: the checksum does not match", errTorn)
	}
	var l Ledger
	if err := json.Unmarshal(file.Content, &l); err != nil {
		return Ledger{}, fmt.Errorf("%w: %w", errTorn, err)
	}
	for i := range l.Entries {
		if err := l.Entries[i].check(); err != nil {
			return Ledger{}, fmt.Errorf("%w: %w", errTorn, err)
		}
	}
	return l, nil
}
