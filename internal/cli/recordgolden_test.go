package cli

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// golden compares text with the file of that name under testdata/golden, byte
// for byte. With -update it writes the file: the audit log and the --json
// outputs are contracts, so a golden file may gain fields and never lose one.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if want := goldenText(t, name); text != want {
		t.Errorf("%s (-golden +written; see the comment of golden before you run -update):\n%s", path, cmp.Diff(want, text))
	}
}

// goldenText returns a golden file; one that is missing is empty.
func goldenText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "golden", name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// recordPayloads are empty payloads of every kind, by a name that begins with
// the kind.
func recordPayloads() map[string]record.Payload {
	all := map[string]record.Payload{"outcome of a revert": new(record.Outcome)}
	for _, kind := range record.Kinds() {
		all[string(kind)] = record.Empty(kind)
	}
	return all
}

// filledPayload returns a payload with every field set that its record can have.
func filledPayload(t *testing.T, name string, empty record.Payload) record.Payload {
	t.Helper()
	kind, _, _ := strings.Cut(name, " ")
	full := filled(t, kind, empty)
	if out, ok := full.(*record.Outcome); ok && name != kind {
		out.Incident = "" // a revert belongs to none
	}
	return full
}

// appended writes a record and returns it as it stands in the file.
func appended(t *testing.T, payload record.Payload) audit.Record {
	t.Helper()
	now := time.Date(2026, 11, 20, 19, 0, 0, 123456789, time.UTC)
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	log, err := audit.Open(path, audit.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(payload); err != nil {
		t.Fatalf("append %s: %v", payload.Kind(), err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	r, _, err := audit.Last(path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRecordsMatchGolden compares the lines of the audit log with
// golden files: of each kind one with all its fields and one with those that
// are never left out.
func TestRecordsMatchGolden(t *testing.T) {
	all := recordPayloads()
	written := map[record.Kind]bool{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		kind, _, _ := strings.Cut(name, " ")
		written[record.Kind(kind)] = true
		var lines strings.Builder
		for _, payload := range []record.Payload{filledPayload(t, name, all[name]), all[name]} {
			r := appended(t, payload)
			fmt.Fprintf(&lines, "%s\n", r.Line())
			read := record.Empty(payload.Kind())
			if err := json.Unmarshal(r.JSON(), read); err != nil {
				t.Errorf("%s: the program does not read what it writes: %v", name, err)
			} else if again := appended(t, read); !bytes.Equal(again.Line(), r.Line()) {
				t.Errorf("%s, read and written again (-first +second):\n%s", name, cmp.Diff(string(r.Line()), string(again.Line())))
			}
		}
		golden(t, "record/"+strings.ReplaceAll(name, " ", "_")+".jsonl", lines.String())
	}
	for _, kind := range record.Kinds() {
		if !written[kind] {
			t.Errorf("no golden file of the kind %s", kind)
		}
	}
}

// TestRecordSentencesMatchGolden freezes what a person reads of a
// record, and how the journal files it.
func TestRecordSentencesMatchGolden(t *testing.T) {
	var text strings.Builder
	row := func(name string, payload record.Payload) {
		r := appended(t, payload)
		fmt.Fprintf(&text, "%s\tpriority %d, %s\n\t%s\n", name, payload.Headline().Priority, r.Kind.MessageID(), r.Sentence())
	}
	all := recordPayloads()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		row(name, filledPayload(t, name, all[name]))
		row(name+", minimal", all[name])
	}
	for _, v := range []struct{ name, kind, payload string }{
		{"gap torn", "gap", `{"reason":"torn","bytes":17,"file":"audit.jsonl.torn-1"}`},
		{"gap damaged", "gap", `{"reason":"damaged","bytes":17,"file":"audit.jsonl.torn-1"}`},
		{"gap foreign", "gap", `{"reason":"foreign","bytes":17,"file":"audit.jsonl.foreign-1"}`},
		{"gap not_durable", "gap", `{"reason":"not_durable","lost":3,"from":4,"to":6,"error":"no space left on device"}`},
		{"gap cut", "gap", `{"reason":"cut","from":4,"to":6}`},
		{"gap retention", "gap", `{"reason":"retention","segments":[{"file":"audit-1.jsonl","first":1,"last":9,"bytes":5}]}`},
		{"level calm", "level", `{"level":"calm","text":"x"}`},
		{"level elevated", "level", `{"level":"elevated","text":"x"}`},
		{"level high", "level", `{"level":"high","text":"x"}`},
		{"level exhausted", "level", `{"level":"exhausted","text":"x"}`},
		{"plan that acts", "plan", `{"actions":[{"type":"raise_max"}],"text":"x"}`},
		{"plan that would act", "plan", `{"actions":[{"type":"raise_max","would":true}],"text":"x"}`},
		{"plan that gives back", "plan", `{"actions":[{"type":"restore_max"},{"type":"restore_timeout"}],"text":"x"}`},
		{"outcome that failed", "outcome", `{"action":{"type":"raise_max"},"ok":false,"error":"EPERM","text":"x"}`},
		{"outcome done", "outcome", `{"action":{"type":"raise_max"},"ok":true,"text":"x"}`},
		{"outcome that would be", "outcome", `{"action":{"type":"raise_max","would":true},"ok":true,"text":"x"}`},
		{"outcome given back", "outcome", `{"action":{"type":"restore_max"},"ok":true,"text":"x"}`},
		{"verdict helped", "verdict", `{"type":"raise_max","result":"helped","text":"x"}`},
		{"verdict no_effect", "verdict", `{"type":"raise_max","result":"no_effect","text":"x"}`},
		{"verdict worse", "verdict", `{"type":"raise_max","result":"worse","text":"x"}`},
	} {
		payload, err := record.Decode(record.Kind(v.kind), []byte(v.payload))
		if err != nil {
			t.Fatal(err)
		}
		row(v.name, payload)
	}
	golden(t, "record/sentences.txt", text.String())
}

// TestEnumNamesMatchGolden: the names of levels, causes, holds and so on stand
// in the log and in --json.
func TestEnumNamesMatchGolden(t *testing.T) {
	var text strings.Builder
	for _, e := range []struct {
		name  string
		value func(i uint8) (encoding.TextMarshaler, encoding.TextUnmarshaler)
	}{
		{"mode", enumeration[policy.Mode]}, {"level", enumeration[policy.Level]}, {"cause", enumeration[policy.Cause]},
		{"held", enumeration[policy.Hold]}, {"action", enumeration[policy.ActionType]}, {"class", enumeration[policy.Class]},
		{"reason", enumeration[policy.Reason]}, {"fate", enumeration[policy.Eligibility]}, {"result", enumeration[policy.Result]},
		{"foreign", enumeration[policy.ExternalChange]}, {"note", enumeration[record.NoteKind]},
	} {
		fmt.Fprintf(&text, "%s:", e.name)
		for i := range uint8(100) {
			v, read := e.value(i)
			name, err := v.MarshalText()
			if err != nil || read.UnmarshalText(name) != nil {
				break
			}
			fmt.Fprintf(&text, " %s", name)
		}
		text.WriteByte('\n')
	}
	golden(t, "record/names.txt", text.String())
}

func enumeration[T ~uint8, P interface {
	*T
	encoding.TextUnmarshaler
}](i uint8) (encoding.TextMarshaler, encoding.TextUnmarshaler) {
	v, read := T(i), new(T)
	m, _ := any(v).(encoding.TextMarshaler)
	return m, P(read)
}
