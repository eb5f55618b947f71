package policy

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEligibilitiesHaveNamesInJSON(t *testing.T) {
	var want Eligibilities
	for i := range want {
		want[i] = uint64(i + 1)
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Eligibilities
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after a round trip by JSON (-want +got):\n%s", diff)
	}
	if err := json.Unmarshal([]byte(`{"lost": 1}`), &got); err == nil {
		t.Error("no error for an unknown name")
	}
}

func TestAnOutcomeWithoutEntriesHasNoEntriesInJSON(t *testing.T) {
	text, err := json.Marshal(Outcome{Action: Action{Type: RaiseMax}})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"entries", "note"} {
		if _, ok := fields[name]; ok {
			t.Errorf("unexpected field %q in %s", name, text)
		}
	}
}
