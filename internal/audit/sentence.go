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

// AppendText appends one line for people to dst: time, kind and sentence,
// sanitised, with a newline.
func (r Record) AppendText(dst []byte) []byte {
	dst = r.Time.AppendFormat(dst, "2006-01-02 15:04:05.000Z")
	return fmt.Appendf(dst, "  %-14s  %s\n", r.Kind, r.Sentence())
}

func (r Record) sentence() string {
	f := r.facts()
	switch r.Kind {
	case KindPlan:
		return f.plan()
	case KindOutcome:
		return f.outcome()
	case KindVerdict:
		if f.Verdict != "" {
			return strings.TrimSpace(f.action().say()+": "+f.Verdict) + f.change()
		}
	case KindHold:
		if why := f.held(); why != "" {
			return "held: " + why
		}
	case KindGap:
		var g Gap
		if r.Decode(&g) == nil {
			return g.say()
		}
	}
	return r.pairs()
}

func (f facts) plan() string {
	var b strings.Builder
	if f.Level != "" {
		fmt.Fprintf(&b, "at %s, ", f.Level)
	}
	if why := f.held(); why != "" && len(f.Actions) == 0 {
		return b.String() + "held: " + why
	}
	if len(f.Actions) == 0 {
		return b.String() + "nothing to do"
	}
	if _, would := f.acts(); would {
		b.WriteString("would ")
	}
	for i, a := range f.Actions {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(a.say())
		if why := plain(a.Reason); why != "" && why != "none" {
			b.WriteString(", because: " + why)
		}
	}
	return b.String()
}

func (f facts) outcome() string {
	s := f.action().say()
	switch {
	case f.OK == nil:
		return s + ": unknown"
	case !*f.OK:
		return s + ": failed: " + f.Error
	}
	return s + ": done" + f.change()
}

// change says what was before and after, if that is one value.
func (f facts) change() string {
	if len(f.Before) == 0 || len(f.After) == 0 || f.Before[0] == '{' || f.After[0] == '{' {
		return ""
	}
	return fmt.Sprintf(" (before %s, after %s)", plain(f.Before), plain(f.After))
}

func (a actionFacts) say() string {
	s := a.Type
	if a.Knob != "" && a.Knob != "none" {
		s += " " + a.Knob
	}
	if len(a.From) > 0 && len(a.To) > 0 {
		s += fmt.Sprintf(" %s -> %s", plain(a.From), plain(a.To))
	}
	if n := plain(a.NetNS); n != "" && n != "0" {
		s += " in netns " + n
	}
	return s
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
