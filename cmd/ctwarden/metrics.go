package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/internal/metrics"
)

// metrics writes the page that a Prometheus server reads.
func (d *running) metrics(w io.Writer) error {
	r := d.report()
	s := metrics.Snapshot{
		Version: r.Version, Since: r.Since, Status: r.Status, Changed: len(r.Changed),
		Audit:   metrics.Audit{Seq: r.Audit.Seq, Healthy: r.Audit.Error == "", Lost: r.Audit.Lost},
		Process: metrics.ReadProcess(),
		Sources: make(map[string]metrics.Source, len(r.Sources)),
	}
	for name, source := range r.Sources {
		s.Sources[name] = metrics.Source{
			Alive: source.Alive, Heard: source.Heard, Lost: source.Lost, Reopened: source.Reopened,
		}
	}
	return metrics.Write(w, &s, &d.tally)
}

// listenMetrics opens the address that the configuration names. The page holds
// no secret, but it is for the one who collects it.
func (d *running) listenMetrics(address string) (net.Listener, bool) {
	if address == "" {
		return nil, false
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		d.say.Error("no metrics on the network; the control socket has them", "error", err)
		return nil, false
	}
	d.say.Info("metrics on the network", "address", l.Addr().String())
	return l, true
}

// textfileEvery is how often the textfile is written: node_exporter is mostly
// read every 15 to 60 s.
const textfileEvery = 15 * time.Second

// keepTextfile writes the page to path now and then, until ctx is done; then
// it removes the file, so that nobody takes old figures for new ones.
func (d *running) keepTextfile(ctx context.Context, path string) error {
	said := ""
	for {
		err := writeTextfile(path, d.metrics)
		switch {
		case err == nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			d.say.Error("write metrics", "error", err)
		}
		// Hosts that were started together do not write together.
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

// writeTextfile replaces the file whole, readable for every user: the
// collector reads it at any time, and is another one.
func writeTextfile(path string, write func(io.Writer) error) error {
	// The collector takes only what ends in .prom.
	next, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	err = write(next)
	if err == nil {
		err = next.Chmod(fs.FileMode(0o644))
	}
	if closed := next.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		_ = os.Remove(next.Name()) // the error that matters is the first
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}

func newMetrics() *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "print the running daemon's metrics, as a Prometheus server reads them",
		Long: `Metrics prints what the control socket answers to GET /metrics. To have it
collected, set metrics.textfile (a file for node_exporter) or metrics.listen (an
address of its own), or put a proxy before the socket.`,
		Example: `  ctwarden metrics | promtool check metrics`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(source(cmd))
			if err != nil {
				return err
			}
			text, err := control.Metrics(cmd.Context(), cfg.Control.Socket)
			if err != nil {
				return unanswered(cmd, cfg, err)
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}
