package main

import (
	"path/filepath"
	"testing"

	"github.com/ctwarden/ctwarden/internal/audit"
)

func TestALongLogIsWhole(t *testing.T) {
	t.Chdir("../..")
	const size, flight = 1 << 20, 3
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	made, err := writeLong(path, size, flight)
	if err != nil {
		t.Fatal(err)
	}
	result, err := audit.Verifier{}.Verify(t.Context(), path)
	if err != nil || !result.OK() || result.Records != made.records {
		t.Errorf("%d records of %d, problems %v, %v", result.Records, made.records, result.Problems, err)
	}
	kinds := map[audit.Kind]int{}
	for r, err := range audit.Read(t.Context(), path, audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		kinds[r.Kind]++
	}
	drill, err := readDrill()
	if err != nil {
		t.Fatal(err)
	}
	samples := flight
	for _, r := range drill.records {
		if r.kind == string(audit.KindSample) {
			samples++
		}
	}
	incidents := len(made.incidents)
	if incidents < 10 || kinds[audit.KindIncidentOpen] != incidents || kinds[audit.KindIncidentClose] != incidents || kinds[audit.KindSample] != samples*incidents {
		t.Errorf("%d incidents with %d samples each, and records %v", incidents, samples, kinds)
	}
}
