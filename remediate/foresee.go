package remediate

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// A Foresight says what an act on entries would do to them, and does nothing.
// It is the rule that Kernel.Apply goes by.
type Foresight struct{ choice choice }

// Foresee makes ready to foresee an act in a namespace where the timeouts are
// in force. A running Kernel proves idle times by having watched them; here
// they are taken to have stood for as long as the act wants entries idle.
func Foresee(act policy.Action, protect conntrack.Protect, timeouts conntrack.Timeouts) *Foresight {
	var w watch
	idle := max(act.MinIdle, act.SynSentIdle)
	start := time.Unix(0, 0)
	w.look(&timeouts, start)
	w.last = start.Add(idle)
	return &Foresight{choice{act: act, protect: protect, idle: w.idleness(idle)}}
}

// Choose reports whether the act would touch the entry, and counts its eligibility.
// The cap of the act is not looked at.
func (f *Foresight) Choose(e *conntrack.Entry) bool { return f.choice.take(e) }

// Entries tells of the entries that Choose was asked about.
func (f *Foresight) Entries() policy.Entries { return f.choice.told }
