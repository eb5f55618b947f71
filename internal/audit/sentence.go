package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// maxSentence bounds a sentence in bytes: a few terminal lines.
const maxSentence = 1024

// Sentence says in one line for people what the record is about, without its
// time and kind. It is sanitised.
func (r Record) Sentence() string {
	return Clip(Sanitise(r.sentence()), maxSentence)
}

// AppendText appends one line for people to dst: time (in the zone of r.Time),
// kind and sentence, sanitised, with a newline.
func (r Record) AppendText(dst []byte) []byte {
	dst = r.Time.AppendFormat(dst, "2006-01-02 15:04:05.000Z07:00")
	return fmt.Appendf(dst, "  %-14s  %s\n", r.Kind, r.Sentence())
}

// sentence is what the writer of the record said in its field "text"; records
// without one list their plain fields.
func (r Record) sentence() string {
	if r.Kind == KindGap {
		var g Gap
		if r.Decode(&g) == nil {
			return g.say()
		}
	}
	if text := r.facts().Text; text != "" {
		return text
	}
	if r.Kind == KindSample {
		var f flight
		if r.Decode(&f) == nil && len(f.Samples) > 0 {
			return f.say()
		}
	}
	return r.pairs()
}

// A flight is what is said of a record of the flight recorder: of each reading
// the entries and max, which are its second and third number.
type flight struct {
	Before  bool      `json:"before"`
	Samples [][]int64 `json:"samples"`
}

func (f *flight) say() string {
	var first, most, limit, last int64
	for n, row := range f.Samples {
		if len(row) < 3 {
			continue
		}
		if last = row[1]; n == 0 {
			first = last
		}
		if last >= most {
			most, limit = last, row[2]
		}
	}
	text := fmt.Sprintf("%d readings: from %d to %d entries, at the most %d of %d", len(f.Samples), first, last, most, limit)
	if f.Before {
		text += ", before the incident"
	}
	return text
}

func (g Gap) say() string {
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

// pairs says the payload's plain fields as key=value, in the order in which
// they stand.
func (r Record) pairs() string {
	d := json.NewDecoder(bytes.NewReader(r.Payload()))
	if _, err := d.Token(); err != nil {
		return ""
	}
	var b strings.Builder
	for d.More() && b.Len() < maxSentence {
		name, err := d.Token()
		if err != nil {
			break
		}
		var v json.RawMessage
		if d.Decode(&v) != nil {
			break
		}
		if v[0] == '{' || v[0] == '[' {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		text := plain(v)
		if strings.ContainsAny(text, " =\"") {
			text = `"` + strings.ReplaceAll(text, `"`, `'`) + `"`
		}
		fmt.Fprintf(&b, "%v=%s", name, text)
	}
	return b.String()
}
