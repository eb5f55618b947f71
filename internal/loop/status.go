package loop

import (
	"maps"
	"time"

	"github.com/ctwarden/ctwarden/policy"
)

// A Status is the status after the last turn. Its JSON is a contract. Without a
// time there was no turn yet.
type Status struct {
	At     time.Time     `json:"at"`
	Mode   policy.Mode   `json:"mode"`
	Tables []TableStatus `json:"tables"`
	// Errors are the present errors of the loop, by task.
	Errors map[string]string `json:"trouble,omitempty"`
}

// A TableStatus is the status of one table.
type TableStatus struct {
	NetNS uint32 `json:"netns,omitempty"`
	// Name is the name of the namespace; empty for the daemon's own.
	Name       string            `json:"name,omitempty"`
	Incident   string            `json:"incident,omitempty"`
	Level      policy.Level      `json:"level"`
	Cause      policy.Cause      `json:"cause"`
	Held       policy.Hold       `json:"held,omitempty"`
	HeldText   string            `json:"held_text,omitempty"`
	Ladder     policy.Steps      `json:"ladder"`
	Assessment policy.Assessment `json:"assessment"`
	State      policy.State      `json:"state"`
	Text       string            `json:"text"`
}

func (l *Loop) publish() {
	wall, _ := l.deps.Now()
	s := Status{At: wall, Mode: l.limits.Mode, Tables: make([]TableStatus, len(l.tables)), Errors: maps.Clone(l.failures)}
	for i, t := range l.tables {
		a := &t.plan.Assessment
		s.Tables[i] = TableStatus{
			NetNS: t.netns, Incident: t.incident, Level: a.Level, Cause: a.Cause,
			Held: t.plan.Held, Ladder: t.plan.Steps, Assessment: *a, State: t.state,
			Text: a.Sentence(),
		}
		if t.netns != 0 {
			s.Tables[i].Name = l.name(t.netns)
		}
		if t.plan.Held != policy.NotHeld {
			s.Tables[i].HeldText = t.plan.Held.Sentence()
		}
	}
	l.status.Store(&s)
}
