package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/policy"
)

func TestRestartKeys(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.Config)
		want   []string
	}{
		"nothing":  {func(*config.Config) {}, nil},
		"a limit":  {func(c *config.Config) { c.Limits.Mode = policy.Observe }, nil},
		"patterns": {func(c *config.Config) { c.NetNS.Include, c.NetNS.Exclude = []string{"a"}, []string{"b"} }, nil},
		"acting":   {func(c *config.Config) { c.NetNS.Act = true }, []string{"netns.act"}},
		"watching": {
			func(c *config.Config) {
				c.Watch = config.Watch{KMsg: config.Off, Journald: config.Off, NetNS: config.All}
			},
			[]string{"watch.journald", "watch.kmsg", "watch.netns"},
		},
		"places": {
			func(c *config.Config) { c.Audit.Path, c.State.Dir, c.Control.Socket = "/a", "/s", "/c" },
			[]string{"audit.path", "control.socket", "state.dir"},
		},
		"metrics": {
			func(c *config.Config) { c.Metrics.Listen, c.Metrics.Textfile = "[::1]:1", "/m.prom" },
			[]string{"metrics.listen", "metrics.textfile"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			begun, cfg := config.Default(), config.Default()
			c.change(&cfg)
			got := restartKeys(&begun, &cfg)
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("need a restart (-want +got):\n%s", diff)
			}
		})
	}
}

// A hangup is where a daemon in this process speaks to: it sends SIGHUP at the
// first word, and ends the daemon when the configuration was loaded anew.
type hangup struct {
	t      *testing.T
	end    context.CancelFunc
	logged strings.Builder
}

func (h *hangup) Write(p []byte) (int, error) {
	if h.logged.Len() == 0 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			h.t.Error(err)
		}
	}
	h.logged.Write(p)
	if strings.Contains(string(p), "configuration reloaded") {
		h.end()
	}
	return len(p), nil
}

// TestSIGHUPDuringStart: the action of the system is to kill.
func TestSIGHUPDuringStart(t *testing.T) {
	cttest.NeedRoot(t)
	dir := t.TempDir()
	src := config.Source{Environ: []string{
		"CTWARDEN_MODE=observe", "CTWARDEN_STATE_DIR=" + dir, "CTWARDEN_AUDIT_PATH=" + filepath.Join(dir, "audit.jsonl"),
		"CTWARDEN_CONTROL_SOCKET=" + filepath.Join(dir, "socket"), "CTWARDEN_WATCH_KMSG=off", "CTWARDEN_WATCH_JOURNALD=off",
	}}
	cfg, err := config.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	// It speaks of this before it has opened everything.
	if err := os.WriteFile(snapshotPath(dir), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	h := &hangup{t: t, end: end}
	if err := Run(ctx, ServerOptions{Version: "dev", Source: src, Config: cfg, Logger: slog.New(slog.NewTextHandler(h, nil))}); err != nil {
		t.Error(err)
	}
	first, _, _ := strings.Cut(h.logged.String(), "\n")
	if !strings.Contains(first, "without the saved state") {
		t.Errorf("it spoke of %q first, which may be too late for this test", first)
	}
}
