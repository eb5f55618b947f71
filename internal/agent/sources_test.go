package agent

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/watcher"
)

func TestSourceChangedLogsEachChange(t *testing.T) {
	var logged strings.Builder
	d := &Server{logger: slog.New(slog.NewTextHandler(&logged, nil))}
	changed := d.logSourceChange("the kernel log")
	changed(watcher.Status{Alive: true})
	changed(watcher.Status{Err: errors.New("operation not permitted")})
	lines := strings.Split(strings.TrimSpace(logged.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "reading the kernel log") ||
		!strings.Contains(lines[1], "the kernel log can't be read") || !strings.Contains(lines[1], "operation not permitted") {
		t.Errorf("logged %q", lines)
	}
}
