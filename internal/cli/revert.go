package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

func newRevert() *cobra.Command {
	var print bool
	var a control.Request
	cmd := &cobra.Command{
		Use:   "revert",
		Short: "restore every kernel value",
		Long: `Revert restores every value that ctwarden changed, unless another program or an
administrator has changed it since. A running daemon executes it and then pauses
(--pause), or it would change the values again. If no value is changed the daemon
does not pause: run ctwarden pause to suspend it. Revert works without a daemon and
after a crash, too: the ledger has the original values.

Without --force, max stays raised while any table holds 90 % of the original max,
because new connections would fail at once; and the hash keeps its size while
shrinking it would stall packets.`,
		Example: `  ctwarden revert --print   the commands that would do it
  ctwarden revert --reason "the flood is over"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runRevert(cmd, a, print)
		},
	}
	cmd.Flags().BoolVar(&print, "print", false, "print the commands and change nothing")
	cmd.Flags().DurationVar(&a.For, "pause", time.Hour, "length of the running daemon's pause after the revert; 0 is none")
	cmd.Flags().StringVar(&a.Reason, "reason", "", "reason, for the audit log")
	cmd.Flags().BoolVar(&a.Force, "force", false, "restore max and the hash even if new connections fail or packets stall")
	return cmd
}

// runRevert requests a revert from the daemon, or executes it if none runs.
func runRevert(cmd *cobra.Command, a control.Request, print bool) (err error) {
	cfg, err := loadForPaths(cmd)
	if err != nil {
		return err
	}
	entered := watcher.Opened{}
	defer func() { err = errors.Join(err, entered.Close()) }()
	o := remediate.Options{Dir: cfg.State.Dir, Hash: cfg.Limits.Hash, Find: entered.Find}
	if print {
		return printCommands(cmd, o)
	}
	if err := a.Check(); err != nil {
		return usageError{err, cmd.CommandPath()}
	}
	text, err := control.Do(cmd.Context(), cfg.Control.Socket, "revert", a)
	switch {
	case control.NoDaemon(err):
		return revert(cmd.Context(), cmd.OutOrStdout(), cfg, o, a)
	case errors.Is(err, fs.ErrPermission):
		return explainControl(cmd, cfg, err)
	case err != nil:
		return hint(err, "systemctl stop ctwarden && ctwarden revert")
	}
	return printResponse(cmd.OutOrStdout(), text)
}

// printCommands prints the shell commands that restore the values.
func printCommands(cmd *cobra.Command, o remediate.Options) error {
	commands, err := remediate.RevertCommands(o)
	if err != nil {
		return err
	}
	if len(commands) == 0 { // on standard error: a shell may read standard output
		_, err := fmt.Fprintln(cmd.ErrOrStderr(), "nothing to revert: ctwarden has changed no value")
		return err
	}
	for _, line := range commands {
		fmt.Fprintln(cmd.OutOrStdout(), line)
	}
	return nil
}

// printResponse prints the response of a running daemon.
func printResponse(w io.Writer, text []byte) error {
	var answer agent.Reverted
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("read response of daemon: %w", err)
	}
	err := printReverted(w, answer.Outcomes)
	switch {
	case !answer.Until.IsZero():
		fmt.Fprintf(w, "paused until %s; ctwarden resume ends it\n", ui.Time(answer.Until))
	case len(answer.Outcomes) == 0:
		fmt.Fprintln(w, "the daemon is not paused (to pause it: ctwarden pause --for 1h --reason WHY)")
	}
	return err
}

// revert restores values without a daemon.
func revert(ctx context.Context, w io.Writer, cfg *config.Config, o remediate.Options, a control.Request) error {
	reverted, err := agent.Revert(ctx, cfg, o, newLogger(io.Discard), a)
	for i := range reverted.Notes {
		fmt.Fprintln(w, reverted.Notes[i].Sentence())
	}
	switch {
	case errors.Is(err, agent.ErrNoRecord):
		return hint(err, "ctwarden revert --force   # without a record", "ctwarden revert --print")
	case err != nil && len(reverted.Outcomes) == 0:
		return hint(err, hintsForLedger(err)...)
	}
	return errors.Join(err, printReverted(w, reverted.Outcomes))
}

// printReverted prints the outcome of each value, and returns an error if one was not
// restored.
func printReverted(w io.Writer, outcomes []policy.Outcome) error {
	if len(outcomes) == 0 {
		_, err := fmt.Fprintln(w, "nothing to revert: ctwarden has changed no value")
		return err
	}
	left := 0
	for i := range outcomes {
		fmt.Fprintln(w, outcomes[i].Sentence())
		if !outcomes[i].OK && !outcomes[i].ChangedExternally {
			left++
		}
	}
	if left > 0 {
		return hint(fmt.Errorf("%d of %d values were not restored", left, len(outcomes)),
			"ctwarden revert --force", "ctwarden revert --print")
	}
	return nil
}

// hintsForLedger returns the hints for an error of the ledger.
func hintsForLedger(err error) []string {
	if errors.Is(err, remediate.ErrLocked) {
		return []string{
			"ctwarden status   # another ctwarden runs",
			"systemctl stop ctwarden && ctwarden revert",
		}
	}
	return hintsFor(err)
}
