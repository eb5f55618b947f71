package agent

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/watcher"
)

func TestASourceThatBeginsOrStopsIsSaid(t *testing.T) {
	var said strings.Builder
	d := &Server{logger: slog.New(slog.NewTextHandler(&said, nil))}
	changed := d.sourceChanged("the kernel log")
	changed(watcher.Status{Alive: true})
	changed(watcher.Status{Err: errors.New("operation not permitted")})
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "listening to the kernel log") ||
		!strings.Contains(lines[1], "the kernel log is silent") || !strings.Contains(lines[1], "operation not permitted") {
		t.Errorf("said %q", lines)
	}
}
