package record

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/policy"
)

func TestEveryKindHasItsPayload(t *testing.T) {
	for _, k := range Kinds() {
		p := Empty(k)
		if p == nil || p.Kind() != k {
			t.Errorf("the payload of a %s is %T", k, p)
			continue
		}
		if got := p.Headline().Priority; got < Error || got > Debug {
			t.Errorf("%s: priority %d", k, got)
		}
	}
	if p, err := Decode("later", []byte(`{"text":"new"}`)); err != nil || p.Kind() != "later" || p.Headline().Sentence != "new" {
		t.Errorf("a kind of a later version: %+v, %v", p, err)
	}
}

// TestNoFieldBelongsToTheLine: a line has fields of its own, and Go's decoder
// would read a field "Seq" of a payload as the record's number.
func TestNoFieldBelongsToTheLine(t *testing.T) {
	for _, k := range Kinds() {
		seen := map[string]bool{}
		for _, f := range reflect.VisibleFields(reflect.TypeOf(Empty(k)).Elem()) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous || name == "-" || k == KindSample {
				continue
			}
			for _, own := range []string{"seq", "time", "kind", "prev", "hash"} {
				if strings.EqualFold(name, own) {
					t.Errorf("%s: field %q belongs to the line", k, name)
				}
			}
			if name == "" || seen[name] {
				t.Errorf("%s: field %s is named %q, as another is or not at all", k, f.Name, name)
			}
			seen[name] = true
		}
	}
}

func TestSkimReadsWhatDecodeReads(t *testing.T) {
	plan := &Hold{Decision{
		Incident: "INC-1", NetNS: 7, Level: policy.High, Cause: policy.Load, Text: "held: \"quoted\"",
		Plan: policy.Plan{Held: policy.HeldBudget},
	}}
	plan.Observation.Now = 5e9
	plan.Observation.Table.Entries, plan.Observation.Table.Max, plan.Observation.Table.Counters.EarlyDrop = 9, 10, 3
	outcome := &Outcome{Incident: "INC-1", Text: "x", Outcome: policy.Outcome{
		Action: policy.Action{Type: policy.RaiseMax, NetNS: 7, Would: true}, OK: true, ChangedExternally: true, Before: 1, After: 2,
	}}
	verdict := &Verdict{Incident: "INC-1", NetNS: 7, Text: "x", Verdict: policy.Verdict{Result: policy.Worse}}
	verdict.After.Entries, verdict.After.At = 5, 8e9
	var s Skimmer
	for _, want := range []Payload{
		plan, (*Breaker)(plan), outcome, verdict,
		&IncidentOpen{Edge{Incident: "INC-1", NetNS: 7, Moment: 7e9, Entries: 1, Max: 2, Text: "begins"}},
		&Config{Digest: "d", Limits: policy.Defaults(), Text: "x"},
		&Level{Level: policy.High, Text: "x"},
	} {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Skim(want.Kind(), text)
		if err != nil || !reflect.DeepEqual(want, got) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", want.Kind(), err, got, want)
		}
	}
}

func TestSkimTakesTheLimitsOfTheSameDigest(t *testing.T) {
	var s Skimmer
	for text, want := range map[string]policy.Mode{
		`{"digest":"a","limits":{"mode":"enforce"}}`: policy.Enforce,
		`{"digest":"b","limits":{"mode":"observe"}}`: policy.Observe,
	} {
		for range 2 {
			p, err := s.Skim(KindConfig, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if got := p.(*Config).Limits.Mode; got != want {
				t.Errorf("%s: mode %v", text, got)
			}
		}
	}
}

func TestAPlanOfAnotherPolicyIsReadWithoutItsState(t *testing.T) {
	for version, want := range map[int]bool{0: true, policy.Version: false, 99: true} {
		text := fmt.Appendf(nil, `{"incident":"A","policy_version":%d,"level":"high","state":{"level":"unheard_of"},"held":"budget"}`, version)
		p, err := Decode(KindHold, text)
		if want = want && max(version, 1) != policy.Version; (err == nil) != want {
			t.Errorf("version %d: %v", version, err)
		}
		if h, ok := p.(*Hold); want && (!ok || h.Held != policy.HeldBudget || h.Level != policy.High) {
			t.Errorf("version %d: %+v", version, p)
		}
	}
}
