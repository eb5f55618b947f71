package cli

import (
	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/control"
)

func newMetrics() *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "print the running daemon's metrics, as a Prometheus server scrapes them",
		Long: `Metrics prints the response of the control socket to GET /metrics. To have the
metrics scraped, set metrics.textfile (a file for node_exporter) or metrics.listen (an
address), or put a proxy before the socket.`,
		Example: `  ctwarden metrics | promtool check metrics`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadForPaths(cmd)
			if err != nil {
				return err
			}
			text, err := control.Metrics(cmd.Context(), cfg.Control.Socket)
			if err != nil {
				return explainControl(cmd, cfg, err)
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}
