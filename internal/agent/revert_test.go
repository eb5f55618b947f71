package agent

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/policy"
)

func TestRevertWithoutDaemonIsRecorded(t *testing.T) {
	cfg := config.Default()
	cfg.Audit.Path = filepath.Join(t.TempDir(), "audit.jsonl")
	log, err := openRevertLog(&cfg, slog.New(slog.DiscardHandler), control.Request{Reason: "the flood is over"})
	if err != nil {
		t.Fatal(err)
	}
	out := policy.Outcome{Action: policy.Action{Type: policy.RestoreMax, From: 2, To: 1}, OK: true, Before: 2, After: 1}
	if err := errors.Join(appendOutcomes(log, []policy.Outcome{out}), log.Close()); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for r, err := range audit.Read(t.Context(), cfg.Audit.Path, audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, string(r.Kind)+": "+r.Sentence())
	}
	want := "outcome: set nf_conntrack_max 2 -> 1: now 1"
	if len(kinds) != 2 || !strings.HasPrefix(kinds[0], "revert: ") || !strings.HasSuffix(kinds[0], "the flood is over") || kinds[1] != want {
		t.Errorf("records %q", kinds)
	}
}

func TestRevertWithoutAuditLogFails(t *testing.T) {
	cfg := config.Default()
	dir := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Audit.Path = filepath.Join(dir, "audit.jsonl")
	if log, err := openRevertLog(&cfg, slog.New(slog.DiscardHandler), control.Request{}); log != nil || err == nil {
		t.Errorf("log %v, error %v, want only an error", log, err)
	}
}
