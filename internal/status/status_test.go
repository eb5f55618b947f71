package status_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/watcher"
)

// TestQueryReturnsWhatTheDaemonSends: what has no JSON, such as an error, must
// reach the reader as text.
func TestQueryReturnsWhatTheDaemonSends(t *testing.T) {
	sent := &status.Status{
		Running: true, Version: "1.0",
		Sources: map[string]status.Source{
			"kmsg":     status.NewSource(watcher.Status{Alive: true, At: time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC), Missed: 5}),
			"journald": status.NewSource(watcher.Status{Err: errors.New("no journal")}),
		},
		Audit: status.NewAudit(audit.Checkpoint{Seq: 9}, audit.Health{Lost: 2, Err: errors.New("disk full")}),
	}
	path := filepath.Join(t.TempDir(), "control.sock")
	serve(t, path, sent)
	got, err := status.Query(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if text := got.Sources["journald"].Error; text != "no journal" {
		t.Errorf("the error of the journal reads %q", text)
	}
	if got.Audit == nil || got.Audit.Error != "disk full" {
		t.Errorf("the audit log reads %+v", got.Audit)
	}
	if diff := cmp.Diff(encode(t, sent), encode(t, got)); diff != "" {
		t.Errorf("(-sent +received):\n%s", diff)
	}
}

func TestQueryWithoutADaemon(t *testing.T) {
	_, err := status.Query(t.Context(), filepath.Join(t.TempDir(), "control.sock"))
	if !control.NoDaemon(err) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}

// TestReadKnowsNothingThatOnlyADaemonKnows also holds where nf_conntrack is not
// loaded: the table is absent then.
func TestReadKnowsNothingThatOnlyADaemonKnows(t *testing.T) {
	limits := policy.Defaults()
	s, err := status.Read("1.0", &limits, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if s.Running || s.Version != "1.0" || s.Mode != limits.Mode || s.At.IsZero() || len(s.Tables) != 1 || s.Tables[0].Text == "" {
		t.Errorf("read %+v", s)
	}
	if s.Audit != nil || s.Sources != nil || len(s.Changed) > 0 || s.Ledger != "" {
		t.Errorf("read %+v, %+v, %+v, %q", s.Audit, s.Sources, s.Changed, s.Ledger)
	}
}

// serve answers one path as the daemon does.
func serve(t *testing.T, path string, s *status.Status) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/status" {
			_, _ = w.Write([]byte(encode(t, s)))
		}
	}), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
