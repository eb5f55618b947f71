package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
)

// journalOf is what journalctl -o json prints of the copies of a log, samples
// left out as the daemon leaves them out.
func journalOf(t *testing.T, path string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`{"MESSAGE":"Started ctwarden.service","CTWARDEN_SEQ":null,"_PID":"1"}` + "\n")
	for r, err := range audit.Read(t.Context(), path, audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Kind == record.KindSample {
			continue
		}
		line, err := json.Marshal(map[string]string{
			"CTWARDEN_SEQ": fmt.Sprint(r.Seq), "CTWARDEN_HASH": r.Hash.String(), "CTWARDEN_RECORD": string(r.Line()),
		})
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}

// resealed writes a log whose chain is whole, but other than it was from the first
// record of a kind on.
func resealed(t *testing.T, path string, from record.Kind) string {
	t.Helper()
	other := filepath.Join(t.TempDir(), "audit.jsonl")
	log, err := audit.Open(other, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	begun := false
	var seq uint64
	for r, err := range audit.Read(t.Context(), path, audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		payload := r.JSON()
		if begun = begun || r.Kind == from; begun {
			payload = bytes.Replace(payload, []byte(`"text":"`), []byte(`"text":"not `), 1)
		}
		if _, err := log.Append(&record.Other{Name: r.Kind, JSON: payload}); err != nil {
			t.Fatal(err)
		}
		seq = r.Seq
	}
	if got := log.Head().Seq; got != seq {
		t.Fatalf("%d records, want %d", got, seq)
	}
	return other
}

func TestVerifyComparesWithTheJournal(t *testing.T) {
	needDrillLog(t)
	journal := filepath.Join(t.TempDir(), "journal.json")
	if err := os.WriteFile(journal, []byte(journalOf(t, drillLog)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _ := runCommand(t, exitOK, "audit", "verify", "--log", drillLog, "--journal", journal); !strings.HasSuffix(out, "records, 0 problems\n") {
		t.Errorf("an intact log: %s", out)
	}
	// Times differ, so that the other log differs from its first record on.
	rewritten := resealed(t, drillLog, record.KindRevert)
	out, _ := runCommand(t, exitFound, "audit", "verify", "--no-redecide", "--log", rewritten, "--journal", journal)
	if !strings.HasPrefix(out, "record 1 rewritten (audit.jsonl line 1)") {
		t.Errorf("a log that was written anew: %s", out)
	}
	if out, _ := runCommand(t, exitOK, "audit", "verify", "--no-redecide", "--log", rewritten); !strings.HasSuffix(out, "0 problems\n") {
		t.Errorf("the same without the journal: %s", out)
	}
}

func TestADisputeIsSaidInWords(t *testing.T) {
	needDrillLog(t)
	forged := filepath.Join(t.TempDir(), "audit.jsonl")
	log, err := audit.Open(forged, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for r, err := range audit.Read(t.Context(), drillLog, audit.Filter{Kinds: []record.Kind{record.KindConfig, record.KindPlan}}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Append(&record.Other{Name: r.Kind, JSON: bytes.Replace(r.JSON(), []byte(`"to":524288`), []byte(`"to":600000`), 1)}); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := runCommand(t, exitFound, "audit", "verify", "--log", forged)
	first, _, _ := strings.Cut(out, "\n")
	want := "record 2 disputed (audit.jsonl line 2): decided again: would set nf_conntrack_max 262144 -> 524288; recorded: would set nf_conntrack_max 262144 -> 600000"
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("a forged plan (-want +got):\n%s", diff)
	}
}
