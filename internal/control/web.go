package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/exporter-toolkit/web"
)

// ServeMetrics serves GET /metrics on l, and nothing else, until ctx is done. It
// closes the listener. Passwords and TLS come from the file webConfig, in the format
// that the exporters of Prometheus share; it is read again for each connection. With
// "" every client that can connect can read.
func ServeMetrics(ctx context.Context, l net.Listener, page http.Handler, webConfig string, logger *slog.Logger) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", page)
	server := newServer(mux)
	server.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelWarn)
	// One request at a time through one connection: passwords are compared
	// before atMost counts, and a comparison takes tens of milliseconds.
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	return serve(ctx, l, server, func(l net.Listener) error {
		return web.Serve(l, server, &web.FlagConfig{WebConfigFile: &webConfig}, logger)
	})
}

// CheckWeb returns the mistake in a webConfig file of ServeMetrics, or in the
// certificate that it names. "" is valid.
func CheckWeb(webConfig string) error {
	err := web.Validate(webConfig)
	if unread, ok := errors.AsType[*fs.PathError](err); ok && unread.Path == webConfig {
		err = unread.Err // it is named below
	}
	if err != nil {
		return fmt.Errorf("%s: %w", webConfig, err)
	}
	return nil
}
