package audit

import (
	"encoding/json"
	"strings"
)

// facts are the fields of any payload that a headline, a priority or a
// journal field is made of. A field that is missing, or of another type than
// expected, is zero: a later version may write what this one does not know.
type facts struct {
	Text     string          `json:"text"`
	Level    string          `json:"level"`
	Incident string          `json:"incident"`
	Verdict  string          `json:"verdict"`
	Result   string          `json:"result"`
	Held     json.RawMessage `json:"held"`
	Reason   json.RawMessage `json:"reason"`
	Actions  []actionFacts   `json:"actions"`
	Action   json.RawMessage `json:"action"`
	Type     string          `json:"type"`
	OK       *bool           `json:"ok"`
	Error    string          `json:"error"`
	NetNS    json.RawMessage `json:"netns"`
	Would    bool            `json:"would"`
}

type actionFacts struct {
	Type  string          `json:"type"`
	NetNS json.RawMessage `json:"netns"`
	Would bool            `json:"would"`
}

func (r Record) facts() facts {
	var f facts
	// encoding/json goes on behind a field of the wrong type.
	_ = r.Decode(&f)
	if f.Verdict == "" && r.Kind == KindVerdict {
		f.Verdict = f.Result
	}
	return f
}

// action returns the action that an outcome or a verdict is about, whether
// the payload holds it whole, by its type's name, or is flat.
func (f facts) action() actionFacts {
	var a actionFacts
	if len(f.Action) == 0 {
		return actionFacts{Type: f.Type}
	}
	if json.Unmarshal(f.Action, &a) != nil {
		a = actionFacts{Type: plain(f.Action)}
	}
	return a
}

// acts reports whether a plan holds at least one action, and whether all of
// them are only told.
func (f facts) acts() (acts, would bool) {
	would = true
	for _, a := range f.Actions {
		acts = true
		would = would && a.Would
	}
	return acts, acts && (would || f.Would)
}

// held returns why nothing is done, "" if something is.
func (f facts) held() string {
	switch s := plain(f.Held); s {
	case "none", "false", "null":
		return ""
	default:
		return s
	}
}

// plain returns a JSON value as people would write it: a string without its
// quotes, the first telling field of an object, anything else as it is.
func plain(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	var o struct {
		Reason string `json:"reason"`
		Type   string `json:"type"`
		Text   string `json:"text"`
	}
	if json.Unmarshal(v, &o) == nil {
		for _, s := range []string{o.Text, o.Reason, o.Type} {
			if s != "" {
				return s
			}
		}
	}
	return strings.TrimSpace(string(v))
}
