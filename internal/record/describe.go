package record

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/policy"
)

// Describe sets the text of a payload to the sentence that its fields make,
// unless the writer set another. Kinds whose sentence needs more than the payload
// keep what the writer set.
func Describe(p Payload) {
	switch p := p.(type) {
	case *Start:
		describe(&p.Text, p.sentence)
	case *Pause:
		describe(&p.Text, p.sentence)
	case *Resume:
		describe(&p.Text, p.sentence)
	case *Revert:
		describe(&p.Text, p.sentence)
	case *Missed:
		describe(&p.Text, p.sentence)
	case *Plan:
		describe(&p.Text, p.sentence)
	case *Hold:
		describe(&p.Text, p.sentence)
	case *Breaker:
		describe(&p.Text, p.sentence)
	case *Outcome:
		describe(&p.Text, p.Sentence)
	case *Verdict:
		describe(&p.Text, p.Sentence)
	case *Override:
		describe(&p.Text, p.sentence)
	case *IncidentOpen:
		describe(&p.Text, func() string { return p.sentence("opened") })
	case *IncidentClose:
		describe(&p.Text, func() string { return p.sentence("closed: " + p.Why) })
	case *Signal:
		describe(&p.Text, p.sentence)
	case *Census:
		describe(&p.Text, p.sentence)
	}
}

func describe(text *string, sentence func() string) {
	if *text == "" {
		*text = sentence()
	}
}

func (s *Start) sentence() string {
	return fmt.Sprintf("ctwarden %s starts on Linux %s, mode %s", s.Version, s.Kernel, s.Mode)
}

// why returns the reason that was given.
func (r *Requester) why() string { return cmp.Or(r.Reason, "no reason given") }

func (p *Pause) sentence() string {
	return fmt.Sprintf("paused by uid %d for %s: %s", p.UID, p.For, p.why())
}

func (r *Resume) sentence() string { return fmt.Sprintf("resumed by uid %d: %s", r.UID, r.why()) }

func (r *Revert) sentence() string {
	return fmt.Sprintf("uid %d requested a revert of every value: %s", r.UID, r.why())
}

func (m *Missed) sentence() string {
	text := fmt.Sprintf("while ctwarden was not reading the kernel log, the kernel reported a full table %d times, last at %s",
		m.Count, m.Last.UTC().Format(time.RFC3339))
	if m.Lost > 0 {
		text += fmt.Sprintf("; %d earlier lines were overwritten before they were read", m.Lost)
	}
	return text
}

// sentence takes the reading from the assessment, which the record's JSON does
// not hold: only the writer of a plan describes it.
func (d *Decision) sentence() string {
	reading := " (" + d.Assessment.Sentence() + ")"
	if !d.Acts() {
		return "held: " + d.Held.Sentence() + reading
	}
	actions := make([]string, len(d.Actions))
	for i := range d.Actions {
		actions[i] = d.Actions[i].Sentence()
	}
	text := strings.Join(actions, ", ") + ": " + d.Actions[0].Reason.Sentence() + reading
	if d.Would {
		text = "would " + text
	}
	return text
}

func (o *Override) sentence() string {
	text := o.Override.Sentence()
	if o.Likely != "" {
		text += ", probably by " + o.Likely
	}
	return text
}

func (e *Edge) sentence(what string) string {
	text := "incident " + e.Incident + " " + what
	if e.Name != "" {
		text += " (" + e.Name + ")"
	}
	return text
}

func (s *Signal) sentence() string {
	text := "kernel log: table full, dropping packet"
	if s.Named {
		text = fmt.Sprintf("kernel log: table full in netns %d, dropping packet", s.NetNS)
	}
	if s.Count > 1 {
		text += fmt.Sprintf(" (%d times)", s.Count)
	}
	return text
}

func (c *Census) sentence() string {
	return fmt.Sprintf("of %d entries read, %s are unreplied, %s closing, %s established; %d may be deleted, %d aged",
		c.Seen, policy.Percent(c.Share(c.Unreplied)), policy.Percent(c.Share(c.Closing)),
		policy.Percent(c.Share(c.Established)), c.Deletable, c.Ageable)
}
