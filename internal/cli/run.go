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
		Short: "the daemon, in the foreground",
		Long: `Run watches the connection tracking table and keeps it from filling, until
SIGTERM. Stopping leaves the kernel as it is; "ctwarden revert" puts every
value back. SIGHUP loads the configuration anew, or keeps the old one and says
why. A start with a wrong configuration ends with the exit code 78, and systemd
does not try again: it would be as wrong as before.`,
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
				return err // a disk that can't be read may be mended
			}
			err = agent.Run(cmd.Context(), agent.ServerOptions{
				Version: cmd.Root().Version, Source: src, Config: cfg, Logger: newLogger(cmd.ErrOrStderr()),
			})
			return hint(err, hintsForRun(err)...)
		},
	}
	cmd.Flags().String("mode", "", "enforce or observe, over the configuration")
	return cmd
}

// hintsForRun are commands for an error of the daemon; none where the kind of
// the error has its own.
func hintsForRun(err error) []string {
	if errors.Is(err, audit.ErrInUse) {
		return []string{"ctwarden status   # is the daemon running already?"}
	}
	if source, ok := errors.AsType[*agent.SourceError](err); ok {
		hints := []string{source.Key + ": auto   # goes on without it"}
		if source.Key == "watch.kmsg" {
			hints = append([]string{"ctwarden doctor   # says what is missing"}, hints...)
		}
		return hints
	}
	return hintsForLedger(err)
}
