package cli

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// payloads are the payloads of every kind, and below them the objects within
// that docs/audit-log.md names.
func payloads() map[string]any {
	all := map[string]any{
		"actions[]": policy.Action{}, "action": policy.Action{}, "outcome.entries": policy.Entries{}, "outcome.entries.samples[]": policy.Sample{},
		"verdict.before": policy.Readings{}, "verdict.after": policy.Readings{}, "census.top": census.Talkers{},
		"census.top.sources[]": census.Counted[census.Port]{}, "observation": policy.Observation{}, "observation.table": conntrack.Table{},
		"observation.memory": policy.Memory{}, "observation.host": policy.Host{}, "observation.kernel": policy.Kernel{}, "counters": conntrack.Counters{},
		"budget": policy.Budget{}, "start.ledger[]": record.Note{}, "config.changes[]": record.Change{}, "config.by": record.Requester{},
		"gap.segments[]": record.RemovedSegment{},
	}
	for _, kind := range record.Kinds() {
		all[string(kind)] = reflect.ValueOf(record.Empty(kind)).Elem().Interface()
	}
	return all
}

// TestRecordFieldsAreDocumented compares the rows of the tables of
// fields with the types that are written.
func TestRecordFieldsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/audit-log.md")
	if errors.Is(err, os.ErrNotExist) && os.Getenv("CTWARDEN_TEST_VM") == "1" {
		t.Skip("needs docs/audit-log.md, which is not in the virtual machine")
	}
	if err != nil {
		t.Fatal(err)
	}
	written := map[string][]string{}
	for name, payload := range payloads() {
		written[name] = fieldsOf(t, payload)
	}
	for _, kind := range record.Kinds() {
		if written[string(kind)] == nil {
			t.Errorf("nobody writes a %s", kind)
		}
	}
	documented := documentedFields(string(text))
	if diff := cmp.Diff(written, documented); diff != "" {
		t.Errorf("fields of records (-written +documented):\n%s", diff)
	}
}

// documentedFields reads the tables of fields: what stands in backquotes before
// a parenthesis, which explains it.
func documentedFields(text string) map[string][]string {
	_, text, _ = strings.Cut(text, "### Fields of a payload")
	text, _, _ = strings.Cut(text, "**gap**")
	word, aside := regexp.MustCompile("`([^`]+)`"), regexp.MustCompile(`\([^)]*\)|[;:].*`)
	found := map[string][]string{}
	for line := range strings.Lines(text) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		var names []string
		for _, m := range word.FindAllStringSubmatch(aside.ReplaceAllString(cells[2], ""), -1) {
			names = append(names, m[1])
		}
		slices.Sort(names)
		for _, m := range word.FindAllStringSubmatch(cells[1], -1) {
			found[m[1]] = names
		}
	}
	return found
}

// fieldsOf returns the names of the fields that encoding/json writes of a value
// of this type.
func fieldsOf(t *testing.T, v any) []string {
	t.Helper()
	if s, ok := v.(record.Samples); ok { // it writes its JSON itself
		s.Incident, s.NetNS, s.Before = "x", 1, true
		text, err := json.Marshal(s)
		var names map[string]json.RawMessage
		if err != nil || json.Unmarshal(text, &names) != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(names))
	}
	names := map[string]bool{}
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			t.Errorf("%T: field %s has no name in JSON", v, f.Name)
		}
		names[name] = true
	}
	return slices.Sorted(maps.Keys(names))
}
