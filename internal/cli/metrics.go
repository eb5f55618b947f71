package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/internal/metrics"
)

// snapshot is what the page of metrics is made from.
func (d *running) snapshot() metrics.Snapshot {
	r := d.report()
	s := metrics.Snapshot{
		Version: r.Version, Since: r.Since, Status: r.Status, Changed: len(r.Changed),
		Audit:   metrics.Audit{Seq: r.Audit.Seq, Healthy: r.Audit.Error == "", Lost: r.Audit.Lost},
		Sources: make(map[string]metrics.Source, len(r.Sources)),
	}
	for name, source := range r.Sources {
		s.Sources[name] = metrics.Source{
			Alive: source.Alive, Heard: source.Heard, Lost: source.Lost, Reopened: source.Reopened,
			Missed: source.Missed, At: source.At,
		}
	}
	if n := r.Neighbours; n != nil {
		s.Neighbours = &metrics.Neighbours{
			Found: n.Namespaces, Unread: n.Unread, Hidden: n.Hidden, Entries: n.Entries, Most: n.Most, Took: time.Duration(n.SweepNS),
		}
	}
	return s
}

// webConfig is the key of the file with passwords and TLS.
const webConfig = "metrics.web_config"

// checkWeb says what is wrong with that file, as a mistake in the
// configuration. Only the daemon and `config check` look: others may not be
// permitted to read it, and do not need it.
func checkWeb(cfg *config.Config) error {
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

// listenMetrics opens the address that the configuration names. The table is
// kept from filling without it, too; but where a password is asked for, nothing
// is told without one.
func (d *running) listenMetrics(cfg *config.Config) (net.Listener, bool) {
	if cfg.Metrics.Listen == "" {
		return nil, false
	}
	err := checkWeb(cfg)
	var l net.Listener
	if err == nil {
		l, err = net.Listen("tcp", cfg.Metrics.Listen)
	}
	if err != nil {
		d.say.Error("no metrics on the network; the control socket has them", append([]any{"error", err}, listenNeeds(err)...)...)
		return nil, false
	}
	return l, true
}

// listenNeeds is what a log line adds where the unit has no network: its
// RestrictAddressFamilies= answers like a kernel without IP.
func listenNeeds(err error) []any {
	if !errors.Is(err, unix.EAFNOSUPPORT) {
		return nil
	}
	return []any{"needs", "AF_INET and AF_INET6 in the unit: /usr/share/ctwarden/metrics.conf"}
}

// textfileEvery is how often the textfile is written: node_exporter is mostly
// read every 15 to 60 s.
const textfileEvery = 15 * time.Second

// keepTextfile has write write the page to path now and then, until ctx is
// done; then it removes the file, so that nobody takes old figures for new
// ones.
func (d *running) keepTextfile(ctx context.Context, path string, write func(path string) error) error {
	said := ""
	for {
		err := write(path)
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
			cfg, err := places(cmd)
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
