package record

import (
	"cmp"
	"encoding/json"
	"math"
	"strconv"

	"github.com/ctwarden/ctwarden/policy"
)

// A Decision is the payload of the records that hold a plan: enough to decide
// it again.
type Decision struct {
	Incident string `json:"incident,omitempty"`
	NetNS    uint32 `json:"netns,omitempty"`
	// Limits is the digest of the limits in force; the Config record that
	// has it holds them whole.
	Limits string `json:"limits"`
	// PolicyVersion is the policy.Version that decided; the records of the
	// first version have none.
	PolicyVersion int                `json:"policy_version"`
	Level         policy.Level       `json:"level"`
	Cause         policy.Cause       `json:"cause"`
	Would         bool               `json:"would,omitempty"`
	State         policy.State       `json:"state"`
	Observation   policy.Observation `json:"observation"`
	Budget        policy.Budget      `json:"budget"`
	policy.Plan
	Text string `json:"text"`
}

// firstPolicy is the version of plans whose records name none.
const firstPolicy = 1

// PolicyVersion returns which version of the policy decided the plan of a
// record, without reading the rest: its state may be no state of this version.
func PolicyVersion(text []byte) int {
	version := firstPolicy
	// An error leaves the fields before it.
	_ = eachField(text, func(name, value []byte) error {
		if string(name) == "policy_version" {
			version = cmp.Or(int(min(number(value), math.MaxInt32)), firstPolicy)
			return errFound
		}
		return nil
	})
	return version
}

// decode leaves out the state of another version of the policy, which may be no
// state of this one.
func (d *Decision) decode(text []byte) error {
	if PolicyVersion(text) == policy.Version {
		return json.Unmarshal(text, d)
	}
	return json.Unmarshal(text, &struct {
		*Decision
		State json.RawMessage `json:"state"` // hides that of the Decision
	}{Decision: d})
}

func (d *Decision) headline(p Priority) Headline {
	h := Headline{Priority: p, Sentence: d.Text, Incident: d.Incident, Level: d.Level.String(), NetNS: inode(d.NetNS), Would: d.Would}
	if d.Held != 0 {
		h.Held = d.Held.String()
	}
	if len(d.Actions) > 0 {
		h.Action = d.Actions[0].Type.String()
		if h.NetNS == "" {
			h.NetNS = strconv.FormatUint(uint64(d.Actions[0].NetNS), 10)
		}
		h.Would = h.Would || d.onlyReported()
	}
	return h
}

// onlyReported reports whether no action of a plan is carried out.
func (d *Decision) onlyReported() bool {
	for i := range d.Actions {
		if !d.Actions[i].Would {
			return false
		}
	}
	return true
}

// A Plan is the payload of the record of a plan that acts.
type Plan struct{ Decision }

// Kind returns KindPlan.
func (p *Plan) Kind() Kind { return KindPlan }

// Headline returns the summary of the plan. A change to the kernel is a warning
// although it is no error, because it was made unattended. A restore is not.
func (p *Plan) Headline() Headline {
	switch {
	case !p.Acts():
		return p.headline(Info)
	case p.Would || p.onlyReported():
		return p.headline(Notice)
	}
	for i := range p.Actions {
		if !p.Actions[i].Type.Restores() {
			return p.headline(Warning)
		}
	}
	return p.headline(Notice)
}

// A Hold is the payload of the record that ctwarden did not act although there
// was a reason to.
type Hold struct{ Decision }

// Kind returns KindHold.
func (h *Hold) Kind() Kind { return KindHold }

// Headline returns the reason of the hold.
func (h *Hold) Headline() Headline { return h.headline(Warning) }

// A Breaker is the payload of the record that too many actions were made in an
// hour, so that no more are.
type Breaker struct{ Decision }

// Kind returns KindBreaker.
func (b *Breaker) Kind() Kind { return KindBreaker }

// Headline returns what tripped the breaker.
func (b *Breaker) Headline() Headline { return b.headline(Error) }

// An Outcome is the payload of the record of an action's result.
type Outcome struct {
	Incident string `json:"incident,omitempty"`
	policy.Outcome
	Text string `json:"text"`
}

// Kind returns KindOutcome.
func (o *Outcome) Kind() Kind { return KindOutcome }

// Headline returns the result of the action.
func (o *Outcome) Headline() Headline {
	h := Headline{
		Priority: Warning, Sentence: o.Text, Incident: o.Incident, Action: o.Action.Type.String(),
		NetNS: strconv.FormatUint(uint64(o.Action.NetNS), 10), Would: o.Action.Would,
	}
	switch {
	case !o.OK:
		h.Priority = Error
	case o.Action.Would || o.Action.Type.Restores():
		h.Priority = Notice
	}
	return h
}

// A Verdict is the payload of the record of the effect of an earlier action.
type Verdict struct {
	Incident string `json:"incident,omitempty"`
	NetNS    uint32 `json:"netns,omitempty"`
	policy.Verdict
	Text string `json:"text"`
}

// Kind returns KindVerdict.
func (v *Verdict) Kind() Kind { return KindVerdict }

// Headline returns the verdict.
func (v *Verdict) Headline() Headline {
	h := Headline{
		Priority: Info, Sentence: v.Text, Incident: v.Incident, Verdict: v.Result.String(),
		Action: v.Type.String(), NetNS: inode(v.NetNS),
	}
	if v.Result == policy.NoEffect || v.Result == policy.Worse {
		h.Priority = Warning
	}
	return h
}

// An Override is the payload of the record that another program, or a person,
// changed a value that ctwarden had written.
type Override struct {
	NetNS uint32 `json:"netns,omitempty"`
	policy.Override
	// Likely is the program that probably wrote the value.
	Likely string `json:"likely,omitempty"`
	Text   string `json:"text"`
}

// Kind returns KindOverride.
func (o *Override) Kind() Kind { return KindOverride }

// Headline returns which value was changed.
func (o *Override) Headline() Headline {
	return Headline{Priority: Warning, Sentence: o.Text, Action: o.Type.String(), NetNS: inode(o.NetNS)}
}

// inode returns a namespace's number as text, "" for the daemon's own.
func inode(netns uint32) string {
	if netns == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(netns), 10)
}
