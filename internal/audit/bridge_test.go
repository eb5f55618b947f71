package audit_test

import (
	"path/filepath"
	"testing"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/audit/verify"
	"github.com/ctwarden/ctwarden/internal/record"
)

// sealAll writes records with sound hashes, each after the head given.
func sealAll(t *testing.T, records ...audit.Record) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	var text []byte
	for _, r := range records {
		text = append(append(text, r.Line()...), '\n')
	}
	write(t, path, text)
	return path
}

func after(t *testing.T, prev audit.Checkpoint, kind record.Kind, payload any) audit.Record {
	t.Helper()
	r, err := audit.SealPayload(prev, epoch, raw(kind, payload))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestGapRecordsExplainOnlyTheirOwnGap: the hashes of each log are sound.
func TestGapRecordsExplainOnlyTheirOwnGap(t *testing.T) {
	one := after(t, audit.Checkpoint{}, record.KindStart, nil)
	four := audit.Checkpoint{Seq: 4, Hash: record.Hash{4}}
	gap := func(from, to uint64, h record.Hash) audit.Record {
		return after(t, four, record.KindGap, record.Gap{Reason: record.GapNotDurable, From: from, To: to, After: &h})
	}
	five := after(t, four, record.KindSample, nil)
	retained := func(last uint64, h record.Hash) []audit.Record {
		g := record.Gap{Reason: record.GapRetention, Segments: []record.RemovedSegment{{File: "x", First: 1, Last: last, LastHash: h}}}
		return []audit.Record{five, after(t, five.Checkpoint(), record.KindGap, g)}
	}
	tests := []struct {
		name    string
		records []audit.Record
		want    []string
	}{
		{"the right gap", []audit.Record{one, gap(2, 4, one.Hash)}, nil},
		{"a gap that begins too late", []audit.Record{one, gap(3, 4, one.Hash)}, []string{"removed 2-4"}},
		{"a gap that ends too early", []audit.Record{one, gap(2, 3, one.Hash)}, []string{"removed 2-4"}},
		{"a gap after another record", []audit.Record{one, gap(2, 4, record.Hash{9})}, []string{"removed 2-4"}},
		{"no gap record", []audit.Record{one, five}, []string{"removed 2-4"}},
		{"the right retention", retained(4, record.Hash{4}), nil},
		{"retention of fewer records", retained(3, record.Hash{4}), []string{"removed 1-4"}},
		{"retention of other records", retained(4, record.Hash{9}), []string{"removed 1-4"}},
		{"a first record that follows another", []audit.Record{after(t, audit.Checkpoint{Hash: record.Hash{1}}, record.KindStart, nil)}, []string{"altered 1"}},
		{"one removed, and the next one twice", []audit.Record{one, after(t, audit.Checkpoint{Seq: 2, Hash: record.Hash{2}}, record.KindSample, nil), after(t, audit.Checkpoint{Seq: 2, Hash: record.Hash{2}}, record.KindSample, nil)}, []string{"removed 2", "inserted 3"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantProblems(t, sealAll(t, tt.records...), verify.Verifier{}, tt.want...)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	const (
		at   = `"time":"2026-11-20T19:00:02.000000000Z"`
		tail = `,"prev":"0000000000000000000000000000000000000000000000000000000000000000","hash":"0000000000000000000000000000000000000000000000000000000000000000"}`
	)
	if _, err := audit.Parse([]byte(`{"seq":1,` + at + `,"kind":"start"` + tail)); err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]string{
		"a leading zero":          `{"seq":01,` + at + `,"kind":"start"` + tail,
		"the number zero":         `{"seq":0,` + at + `,"kind":"start"` + tail,
		"a number beyond 64 bits": `{"seq":18446744073709551616,` + at + `,"kind":"start"` + tail,
		"no such day":             `{"seq":1,"time":"2026-02-30T19:00:02.000000000Z","kind":"start"` + tail,
		"a kind in capitals":      `{"seq":1,` + at + `,"kind":"Start"` + tail,
		"a kind without an end":   `{"seq":1,` + at + `,"kind":"startstartstartstartstartstartstartstart"` + tail,
		"no comma":                `{"seq":1,` + at + `,"kind":"start" "a":1` + tail,
		"a control character":     `{"seq":1,` + at + `,"kind":"start","a":"` + "\x1b" + `"` + tail,
		"text behind the end":     `{"seq":1,` + at + `,"kind":"start"` + tail + " ",
		"nothing":                 "",
	} {
		if r, err := audit.Parse([]byte(line)); err == nil {
			t.Errorf("%s: parsed as %+v", name, r.Checkpoint())
		}
	}
}
