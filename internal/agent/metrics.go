package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/control"
)

// webConfig is the key of the file with passwords and TLS.
const webConfig = "metrics.web_config"

// CheckWeb returns the mistake in that file as one of the configuration. Only the
// daemon and `config check` read it: other commands may lack the permission, and do
// not need it.
func CheckWeb(cfg *config.Config) error {
	err := control.CheckWeb(cfg.Metrics.WebConfig)
	if err == nil {
		return nil
	}
	return config.Problems{{
		Origin: cfg.Origin(webConfig), Key: webConfig,
		Expected: "a file of exporter-toolkit (tls_server_config, basic_auth_users)",
		Found:    strings.ReplaceAll(err.Error(), "\n", ""),
	}}
}

// serveMetrics serves the metrics on the configured address. If the password file is
// invalid, it serves nothing.
func (s *Server) serveMetrics(ctx context.Context, ready func()) error {
	cfg := s.settings.initial
	if cfg.Metrics.Listen == "" {
		return nil
	}
	err := CheckWeb(cfg)
	var l net.Listener
	if err == nil {
		l, err = net.Listen("tcp", cfg.Metrics.Listen)
	}
	if err != nil {
		s.logger.Error("metrics.listen failed: metrics are on the control socket only", append([]any{"error", err}, listenNeeds(err)...)...)
		return nil
	}
	ready()
	return control.ServeMetrics(ctx, l, s.exporter, cfg.Metrics.WebConfig, s.logger.With("for", "metrics"))
}

// listenNeeds returns the attributes of a log line about a unit without network: its
// RestrictAddressFamilies= causes the same error as a kernel without IP.
func listenNeeds(err error) []any {
	if !errors.Is(err, unix.EAFNOSUPPORT) {
		return nil
	}
	return []any{"needs", "AF_INET and AF_INET6 in the unit: /usr/share/ctwarden/metrics.conf"}
}

// textfileEvery is the interval of writes: node_exporter is usually scraped every 15
// to 60 s.
const textfileEvery = 15 * time.Second

// writeTextfile writes the metrics to a file every textfileEvery until ctx is done.
// Then it removes the file, so that stale figures are not scraped.
func (s *Server) writeTextfile(ctx context.Context, ready func()) error {
	path := s.settings.initial.Metrics.Textfile
	if path == "" {
		return nil
	}
	ready()
	return updateTextfile(ctx, s.logger, path, s.exporter.WriteFile)
}

// updateTextfile has write write the file at path until ctx is done, and then
// removes it. An error is logged once for each change.
func updateTextfile(ctx context.Context, logger *slog.Logger, path string, write func(path string) error) error {
	lastError := ""
	for {
		err := write(path)
		switch {
		case err == nil:
			lastError = ""
		case err.Error() != lastError:
			lastError = err.Error()
			logger.Error("write metrics", "error", err)
		}
		// Hosts that started at the same time write at different times.
		wait := textfileEvery - rand.N(textfileEvery/5)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				return fmt.Errorf("remove metrics: %w", err)
			}
			return nil
		}
	}
}
