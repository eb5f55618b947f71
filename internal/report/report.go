package report

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"time"
	"unicode/utf16"

	"github.com/ctwarden/ctwarden/internal/advice"
	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
)

// A Report is an incident with what follows from it. Its JSON is a contract:
// docs/incidents.md.
type Report struct {
	Version  int    `json:"version"`
	Headline string `json:"headline"`
	// Written is when the report was made.
	Written  time.Time         `json:"written"`
	Incident incident.Incident `json:"incident"`
	Without  incident.Estimate `json:"without_ctwarden"`
	Advice   advice.Fix        `json:"advice"`
	// Undo are the commands that put back what is still changed.
	Undo []string `json:"undo"`
}

const formatVersion = 1

// New returns the report of an incident that was kept whole.
func New(i incident.Incident, now time.Time) *Report {
	r := &Report{
		Version: formatVersion, Written: now.UTC(), Incident: i, Without: i.Estimate(),
		Advice: advice.New(i.Facts()), Undo: []string{},
	}
	r.Headline = headline(&i)
	for n := range i.Changed {
		r.Undo = append(r.Undo, undo(&i.Changed[n]))
	}
	return r
}

// undo is the command, with a note where it has to run elsewhere.
func undo(c *incident.KernelChange) string {
	command := clean(c.Undo())
	if c.NetNS == 0 {
		return command
	}
	return fmt.Sprintf("%s   # in network namespace %d", command, c.NetNS)
}

// WriteJSON writes the report as JSON, indented.
func (r *Report) WriteJSON(w io.Writer) error { return WriteJSON(w, r) }

// WriteJSON writes a value as JSON, indented, in printable ASCII: other
// characters stand as escapes, so that a terminal is not steered by them.
func WriteJSON(w io.Writer, v any) error {
	text, err := indented(v, "")
	if err != nil {
		return err
	}
	return write(w, append(text, '\n'))
}

// WriteJSONArray writes what seq yields as WriteJSON would write an array of
// it, one value at a time.
func WriteJSONArray[T any](w io.Writer, seq iter.Seq[T]) error {
	lead, end := "[", "[]\n"
	for v := range seq {
		text, err := indented(v, "  ")
		if err != nil {
			return err
		}
		if err := write(w, append([]byte(lead+"\n  "), text...)); err != nil {
			return err
		}
		lead, end = ",", "\n]\n"
	}
	return write(w, []byte(end))
}

func write(w io.Writer, text []byte) error {
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// indented returns a value as JSON in printable ASCII.
func indented(v any, prefix string) ([]byte, error) {
	text, err := json.MarshalIndent(v, prefix, "  ")
	if err != nil {
		return nil, fmt.Errorf("write report: %w", err)
	}
	ascii := make([]byte, 0, len(text)+1)
	for _, c := range string(text) {
		switch {
		case c < 0x7f:
			ascii = append(ascii, byte(c))
		case c <= 0xffff:
			ascii = fmt.Appendf(ascii, `\u%04x`, c)
		default:
			high, low := utf16.EncodeRune(c)
			ascii = fmt.Appendf(ascii, `\u%04x\u%04x`, high, low)
		}
	}
	return ascii, nil
}

// headline returns the most important fact in one sentence.
func headline(i *incident.Incident) string {
	full := i.Peak.Fullness() >= 9990
	acted := i.Counts.Done > i.Counts.Restored
	thrown := count(i.Losses.Evicted, "unfinished connection", "unfinished connections")
	switch l := &i.Losses; {
	case l.Packets > 0 && l.Evicted > l.Packets:
		return fmt.Sprintf("The connection tracking table was full: %s lost, and the kernel evicted %s to make room.", packets(l.Packets), thrown)
	case l.Packets > 0:
		return fmt.Sprintf("The connection tracking table was full: %s lost.", packets(l.Packets))
	case l.Evicted > 0:
		return fmt.Sprintf("The connection tracking table was full: no packet was lost, but the kernel evicted %s to make room.", thrown)
	case l.BelowMax > 0:
		return fmt.Sprintf("%s lost while the connection tracking table had room.", sentence(packets(l.BelowMax)))
	case i.Status == incident.Open && acted:
		return "The connection tracking table is filling up; ctwarden makes room, and nothing has been lost so far."
	case i.Status == incident.Open:
		return "The connection tracking table is filling up; nothing has been lost so far."
	case full && acted:
		return "The connection tracking table was full for a moment; ctwarden made room, and nothing was lost."
	case acted:
		return "The connection tracking table was filling up; ctwarden made room in time, and nothing was lost."
	case i.Counts.Would > 0:
		return "The connection tracking table was filling up; ctwarden only observed, and nothing was lost."
	}
	return "The connection tracking table was filling up, and emptied by itself; nothing was lost."
}

// summary describes in a few sentences what happened.
func summary(i *incident.Incident) []string {
	where := "this host's connection tracking table"
	if i.NetNS != 0 {
		where = fmt.Sprintf("the connection tracking table of network namespace %d", i.NetNS)
	}
	peak := fmt.Sprintf("It held at most %s entries, with a limit of %s at that time (%s).",
		ui.Number(i.Peak.Entries), ui.Number(i.Peak.Max), policy.Percent(i.Peak.Fullness()))
	if i.Peak.Max == 0 {
		peak = fmt.Sprintf("It held at most %s entries, and has no limit.", ui.Number(i.Peak.Entries))
	}
	text := []string{
		"Linux keeps one entry for each connection that its firewall or NAT handles, in one table. The table has a limit, " +
			"nf_conntrack_max. When it is full, the first packets of new connections are dropped: to users, the host seems down, " +
			"while existing connections go on.",
		fmt.Sprintf("The incident began on %s in %s and lasted %s. %s", dateTime(i.Start), where, ui.Duration(i.Duration), peak),
	}
	if cause := causeSentence(i.Cause); cause != "" {
		text = append(text, cause)
	}
	return append(text, actionSummary(i))
}

// actionSummary sums up what ctwarden did.
func actionSummary(i *incident.Incident) string {
	t := &i.Counts
	text := "ctwarden changed nothing."
	acts := t.Done - t.Restored
	switch {
	case acts > 0 && t.Would > 0:
		text = fmt.Sprintf("ctwarden made %s. %s planned and not done: mode is observe.",
			count(uint64(acts), "change", "changes"), count(uint64(t.Would), "more action was", "more actions were"))
	case acts > 0:
		text = fmt.Sprintf("ctwarden made %s.", count(uint64(acts), "change", "changes"))
	case t.Would > 0:
		text = fmt.Sprintf("ctwarden changed nothing. %s planned and not done: mode is observe.", count(uint64(t.Would), "action was", "actions were"))
	}
	if t.Failed > 0 {
		text += fmt.Sprintf(" %s failed.", count(uint64(t.Failed), "attempt", "attempts"))
	}
	switch i.Status {
	case incident.Open:
		text += " The record ends while the incident lasts."
	case incident.Interrupted:
		text += " The record of its end is missing: the host or ctwarden was restarted."
	}
	return text
}

// clean makes text from outside harmless for a line of any form: visible
// characters only, and not too many.
func clean(s string) string { return audit.Clip(audit.Sanitise(s), maxText) }

// maxText bounds the text of a record, in bytes.
const maxText = 600
