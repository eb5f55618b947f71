package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
)

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "run the daemon in the foreground",
		Long: `Run watches the connection tracking table and keeps it from filling, until
SIGTERM. At its end it changes no kernel value; "ctwarden revert" restores them.
SIGHUP reloads the configuration; if the new one has a mistake, the daemon keeps the
old one and logs the mistake. A start with a wrong configuration ends with exit code
78, and systemd does not restart the daemon.`,
		Example: `  ctwarden run
  ctwarden run --mode observe --config ./ctwarden.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			src := configSource(cmd)
			cfg, err := config.Load(src)
			if _, ok := errors.AsType[config.Problems](err); ok {
				return configError{err}
			}
			if err != nil {
				return err // systemd may retry: a disk may become readable
			}
			err = agent.Run(cmd.Context(), agent.ServerOptions{
				Version: cmd.Root().Version, Source: src, Config: cfg, Logger: newLogger(cmd.ErrOrStderr()),
			})
			return hint(err, hintsForRun(err)...)
		},
	}
	cmd.Flags().String("mode", "", "enforce or observe; overrides the configuration")
	return cmd
}

// hintsForRun returns the hints for an error of the daemon's start.
func hintsForRun(err error) []string {
	if errors.Is(err, audit.ErrInUse) {
		return []string{"ctwarden status   # shows whether the daemon runs already"}
	}
	if source, ok := errors.AsType[*agent.SourceError](err); ok {
		hints := []string{source.Key + ": auto   # runs without it"}
		if source.Key == "watch.kmsg" {
			hints = append([]string{"ctwarden doctor   # prints what is missing"}, hints...)
		}
		return hints
	}
	return hintsForLedger(err)
}
