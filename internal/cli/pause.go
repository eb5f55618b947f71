package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/internal/ui"
)

// explainControl adds hints to an error of package control.
func explainControl(cmd *cobra.Command, cfg *config.Config, err error) error {
	switch {
	case control.NoDaemon(err):
		return hint(fmt.Errorf("no daemon listens on %s", cfg.Control.Socket), "systemctl status ctwarden")
	case errors.Is(err, fs.ErrPermission):
		return hint(err, "sudo "+ui.Quote(os.Args...), "sudo usermod -a -G ctwarden \"$USER\"   # permits requests without sudo, after the next login")
	}
	return err
}

// request sends a request to the running daemon and decodes the response.
func request(cmd *cobra.Command, what string, a control.Request, answer any) error {
	cfg, err := loadForPaths(cmd)
	if err != nil {
		return err
	}
	text, err := control.Do(cmd.Context(), cfg.Control.Socket, what, a)
	if err != nil {
		return explainControl(cmd, cfg, err)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("read response of daemon: %w", err)
	}
	return nil
}

func newPause() *cobra.Command {
	var a control.Request
	cmd := &cobra.Command{
		Use:        "pause",
		SuggestFor: []string{"stop", "hold", "disable"},
		Short:      "suspend the daemon's actions for a time",
		Long: `Pause makes the running daemon watch and record, and change nothing, until the
time has passed or "ctwarden resume". Earlier changes stay. The audit log has the
user and the reason.`,
		Example: `  ctwarden pause --for 1h --reason "new firewall rules"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.Reason == "" {
				return hint(usageError{errors.New("--reason is needed, for the audit log"), cmd.CommandPath()}, exampleLines(cmd)...)
			}
			if a.For < time.Second {
				return usageError{fmt.Errorf("--for %s: at least 1s is needed", a.For), cmd.CommandPath()}
			}
			if err := a.Check(); err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			var paused agent.Paused
			if err := request(cmd, "pause", a, &paused); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "paused until %s; ctwarden resume ends it\n", ui.Time(paused.Until))
			return err
		},
	}
	cmd.Flags().DurationVar(&a.For, "for", time.Hour, "length of the pause, up to 720h")
	cmd.Flags().StringVar(&a.Reason, "reason", "", "reason, for the audit log")
	return cmd
}

func newResume() *cobra.Command {
	var a control.Request
	cmd := &cobra.Command{
		Use:        "resume",
		SuggestFor: []string{"unpause", "continue", "enable"},
		Short:      "end a pause, or the pause of the safety limit",
		Example:    `  ctwarden resume --reason "the new rules are in"`,
		Args:       cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.Check(); err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			if err := request(cmd, "resume", a, &struct{}{}); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "resumed")
			return err
		},
	}
	cmd.Flags().StringVar(&a.Reason, "reason", "", "reason, for the audit log")
	return cmd
}

func newReload() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "reload the daemon's configuration",
		Long: `Reload does what SIGHUP and "systemctl reload ctwarden" do, and prints the result:
the daemon applies the whole new configuration or none of it. A change of watch,
netns.act, audit, state, control and metrics needs a restart; reload lists such keys.`,
		Example: `  ctwarden config check && ctwarden reload`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var reloaded agent.Reloaded
			err := request(cmd, "reload", control.Request{}, &reloaded)
			if _, ok := errors.AsType[*control.Refusal](err); ok {
				return hint(err, "ctwarden config check")
			}
			if err != nil {
				return err
			}
			lines := []string{"configuration loaded, limits " + reloaded.Digest}
			for _, key := range reloaded.Restart {
				lines = append(lines, key+" takes effect after: systemctl restart ctwarden")
			}
			for _, line := range lines {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), audit.Sanitise(line)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
