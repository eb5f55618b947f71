package main

import (
	"path/filepath"
	"testing"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/audit/verify"
	"github.com/ctwarden/ctwarden/internal/record"
)

func TestLongLogVerifies(t *testing.T) {
	t.Chdir("../..")
	const size, flight = 1 << 20, 3
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	made, err := writeLong(path, size, flight)
	if err != nil {
		t.Fatal(err)
	}
	result, err := verify.Verifier{}.Verify(t.Context(), path)
	if err != nil || !result.OK() || result.Records != made.records {
		t.Errorf("%d records of %d, problems %v, %v", result.Records, made.records, result.Problems, err)
	}
	kinds := map[record.Kind]int{}
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
		if r.kind == string(record.KindSample) {
			samples++
		}
	}
	incidents := len(made.incidents)
	if incidents < 10 || kinds[record.KindIncidentOpen] != incidents || kinds[record.KindIncidentClose] != incidents || kinds[record.KindSample] != samples*incidents {
		t.Errorf("%d incidents with %d samples each, and records %v", incidents, samples, kinds)
	}
}
