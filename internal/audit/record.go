package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/ctwarden/ctwarden/internal/record"
)

// MaxLine bounds a record's line in bytes, its newline included. A write of
// this size fits one journald datagram, and the tail of a file that must be
// searched for the last record stays small.
const MaxLine = 64 << 10

// timeLayout is RFC 3339 with all nine digits, always UTC: a fixed width
// makes times comparable as bytes, which is how a filter skips a record
// without decoding it.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

// The fixed text of a line. Between the kind and tagPrev stand the payload's
// fields.
const (
	tagSeq  = `{"seq":`
	tagTime = `,"time":"`
	tagKind = `","kind":"`
	tagPrev = `,"prev":"`
	tagHash = `","hash":"`
	tagEnd  = `"}`

	hashText = 2 * len(record.Hash{}) // a hash in hexadecimal

	// tailText is how many bytes of a line follow the payload.
	tailText = len(tagPrev) + hashText + len(tagHash) + hashText + len(tagEnd)
)

var (
	// ErrTooLong reports that a record would be longer than MaxLine. Nothing
	// was written: the caller shortens the payload (see Clip) and tries
	// again.
	ErrTooLong = errors.New("record longer than 64 KiB")

	errNotRecord = errors.New("not a record")
	errHash      = errors.New("hash does not match the text")
)

// A Record is one line of the log. Its payload is decoded on demand, because
// most readers need few of many records.
type Record struct {
	// Seq counts the records of a chain from 1.
	Seq uint64
	// Time is when the record was made, by the host's clock, in UTC. It may
	// run backwards from one record to the next; Seq does not.
	Time time.Time
	Kind record.Kind
	// Prev is the Hash of the record before, zero for the first.
	Prev record.Hash
	Hash record.Hash

	line    []byte         // without its newline
	body    int            // where the payload begins in line, at its comma
	payload record.Payload // of a record that was just written, else nil
}

// Line returns the record as it stands in the file, without its newline. It
// is printable ASCII throughout. The caller must not change it.
func (r Record) Line() []byte { return r.line }

// Checkpoint returns the point in the chain that the record makes.
func (r Record) Checkpoint() Checkpoint { return Checkpoint{Seq: r.Seq, Hash: r.Hash} }

// Payload returns the payload: the one that was written, or what is read from
// the line, at every call anew.
func (r Record) Payload() (record.Payload, error) {
	if r.payload != nil {
		return r.payload, nil
	}
	p, err := record.Decode(r.Kind, r.line)
	if err != nil {
		return nil, fmt.Errorf("read record %d: %w", r.Seq, err)
	}
	return p, nil
}

// JSON returns the payload as a JSON object of its own, without the five fields
// that every record has.
func (r Record) JSON() json.RawMessage {
	inner := r.inner()
	p := make([]byte, 0, len(inner)+2)
	p = append(p, '{')
	p = append(p, inner...)
	return append(p, '}')
}

// maxSentence bounds a sentence in bytes: a few terminal lines.
const maxSentence = 1024

// Sentence returns in one line for people what the record is about, without its
// time and kind. It is sanitised.
func (r Record) Sentence() string { return r.sentence(record.Text(r.Kind, r.line)) }

func (r Record) sentence(text string) string {
	if text == "" && r.Kind != record.KindGap {
		text = record.Pairs(r.JSON())
	}
	return Clip(Sanitise(text), maxSentence)
}

// AppendText appends one line for people to dst: time (in the zone of r.Time),
// kind and sentence, sanitised, with a newline.
func (r Record) AppendText(dst []byte) []byte {
	dst = r.Time.AppendFormat(dst, "2006-01-02 15:04:05.000Z07:00")
	return fmt.Appendf(dst, "  %-14s  %s\n", r.Kind, r.Sentence())
}

// Clone returns a copy that shares no memory with r.
func (r Record) Clone() Record {
	r.line = bytes.Clone(r.line)
	return r
}

// inner returns the payload's fields without braces.
func (r Record) inner() []byte {
	end := len(r.line) - tailText
	if r.body >= end {
		return nil
	}
	return r.line[r.body+1 : end]
}

// seal makes the record that follows prev: the line is final.
func seal(prev Checkpoint, at time.Time, kind record.Kind, inner []byte) (Record, error) {
	if prev.Seq == math.MaxUint64 {
		return Record{}, errors.New("sequence numbers are used up")
	}
	at = at.UTC().Round(0)
	if y := at.Year(); y < 0 || y > 9999 {
		return Record{}, fmt.Errorf("year %d does not fit RFC 3339", y)
	}
	r := Record{Seq: prev.Seq + 1, Time: at, Kind: kind, Prev: prev.Hash}

	line := make([]byte, 0, len(inner)+tailText+128)
	line = append(line, tagSeq...)
	line = strconv.AppendUint(line, r.Seq, 10)
	line = append(line, tagTime...)
	line = at.AppendFormat(line, timeLayout)
	line = append(line, tagKind...)
	line = append(line, kind...)
	line = append(line, '"')
	r.body = len(line)
	if len(inner) > 0 {
		line = append(line, ',')
		line = append(line, inner...)
	}
	line = append(line, tagPrev...)
	line = hex.AppendEncode(line, r.Prev[:])
	r.Hash = sha256.Sum256(append(line, tagEnd...))
	line = append(line, tagHash...)
	line = hex.AppendEncode(line, r.Hash[:])
	line = append(line, tagEnd...)
	if len(line)+1 > MaxLine {
		return Record{}, fmt.Errorf("%w: %d bytes", ErrTooLong, len(line)+1)
	}
	r.line = line
	return r, nil
}

// A header has the fields in the fixed beginning of a line.
type header struct {
	seq  uint64
	time []byte // timeLayout, unchecked but for its length
	kind record.Kind
	body int
}

// parseHeader reads the beginning of a line and not the rest.
func parseHeader(line []byte) (header, bool) {
	var h header
	rest, ok := bytes.CutPrefix(line, []byte(tagSeq))
	if !ok {
		return h, false
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		d := uint64(rest[digits] - '0')
		if h.seq > (math.MaxUint64-d)/10 {
			return h, false
		}
		h.seq = h.seq*10 + d
		digits++
	}
	if digits == 0 || rest[0] == '0' {
		return h, false
	}
	rest, ok = bytes.CutPrefix(rest[digits:], []byte(tagTime))
	if !ok || len(rest) < len(timeLayout) {
		return h, false
	}
	h.time, rest = rest[:len(timeLayout)], rest[len(timeLayout):]
	rest, ok = bytes.CutPrefix(rest, []byte(tagKind))
	if !ok {
		return h, false
	}
	end := bytes.IndexByte(rest[:min(len(rest), record.MaxKind+1)], '"')
	if end < 0 {
		return h, false
	}
	h.kind, ok = record.ParseKind(rest[:end])
	h.body = len(line) - len(rest) + end + 1
	return h, ok
}

// parse reads a whole line but does not recompute its hash. The record keeps
// line.
func parse(line []byte) (Record, error) {
	h, ok := parseHeader(line)
	if !ok || len(line) < h.body+tailText || len(line)+1 > MaxLine || !printable(line) {
		return Record{}, errNotRecord
	}
	return h.record(line)
}

// record reads the part of a line that its header left out.
func (h header) record(line []byte) (Record, error) {
	at, ok := parseTime(h.time)
	if !ok {
		return Record{}, errNotRecord
	}
	r := Record{Seq: h.seq, Time: at, Kind: h.kind, line: line, body: h.body}
	tail := line[len(line)-tailText:]
	if inner := r.line[r.body : len(line)-tailText]; len(inner) > 0 && inner[0] != ',' {
		return Record{}, errNotRecord
	}
	tail, ok = bytes.CutPrefix(tail, []byte(tagPrev))
	if !ok || r.Prev.UnmarshalText(tail[:hashText]) != nil {
		return Record{}, errNotRecord
	}
	tail, ok = bytes.CutPrefix(tail[hashText:], []byte(tagHash))
	if !ok || r.Hash.UnmarshalText(tail[:hashText]) != nil || string(tail[hashText:]) != tagEnd {
		return Record{}, errNotRecord
	}
	return r, nil
}

// parseTime reads a time in timeLayout as time.Parse does, which takes most of
// the time that reading a record takes.
func parseTime(text []byte) (time.Time, bool) {
	if len(text) != len(timeLayout) {
		return time.Time{}, false
	}
	var part [7]int // year to second, nanosecond
	n := 0
	for i, want := range []byte(timeLayout) {
		c := text[i]
		switch {
		case want >= '0' && want <= '9':
			if c < '0' || c > '9' {
				return time.Time{}, false
			}
			part[n] = part[n]*10 + int(c-'0')
		case c != want:
			return time.Time{}, false
		default:
			n++
		}
	}
	at := time.Date(part[0], time.Month(part[1]), part[2], part[3], part[4], part[5], part[6], time.UTC)
	// Date normalises numbers that are out of range: the 30th of February is a
	// day of March.
	y, m, d := at.Date()
	return at, y == part[0] && int(m) == part[1] && d == part[2] && part[3] < 24 && part[4] < 60 && part[5] < 60
}

// check recomputes the record's hash. The canonical text is the line with its
// hash field taken out, which is the line up to there and a closing brace.
func (r Record) check() error {
	const cut = len(tagHash) - 1 + hashText + len(tagEnd) // from the comma on
	var small [2048]byte                                  // most lines; a larger one is allocated
	text := append(small[:0], r.line[:len(r.line)-cut]...)
	if sum := sha256.Sum256(append(text, '}')); sum != r.Hash {
		return errHash
	}
	return nil
}

// printable reports whether line has only the characters that the writer writes:
// ASCII without control characters.
func printable(line []byte) bool {
	for _, c := range line {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}
