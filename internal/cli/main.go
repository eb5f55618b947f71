package cli

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
	exitFound = 3 // a check found a problem
	// exitConfig is EX_CONFIG of sysexits.h, for systemd alone: the unit's
	// RestartPreventExitStatus= names it.
	exitConfig = 78
)

// Main runs the command line of a program of that version and returns the exit
// code.
func Main(ctx context.Context, version string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := New(version)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	return printError(stderr, err)
}

// New returns the command line of a program of that version.
func New(version string) *cobra.Command {
	root := &cobra.Command{
		Use:     "ctwarden",
		Version: version,
		Short:   "keep the connection tracking table from filling",
		Long: `ctwarden keeps the Linux connection tracking table from filling, unattended:
it reads the kernel log, measures the table, acts within bounds, verifies the effect,
can revert every change, and records the reasons.`,
		Example: `  ctwarden status            how full the table is, and what ctwarden changed
  ctwarden drill             a fire drill in a namespace of its own
  ctwarden revert            restore every kernel value`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().String("config", "", "configuration `file` (default /etc/ctwarden/ctwarden.yaml, which may be missing)")
	root.AddCommand(
		newRun(), newStatus(), newDoctor(), newDiagnose(), newDrill(), newSimulate(), newAudit(), newRevert(), newConfig(), newVersion(),
		newPause(), newResume(), newReload(), newMetrics(),
	)
	root.AddCommand(newIncident(), newRecommend(), newReplay())
	configureBuiltins(root)
	refuseUnknownWords(root)
	addCompletions(root)
	return root
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Example: `  ctwarden version`,
		Short:   "print the version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), "ctwarden "+cmd.Root().Version+"\n")
			return err
		},
	}
}

// A configError is a mistake in the configuration of the daemon: a restart would fail
// again.
type configError struct{ error }

func (e configError) Unwrap() error { return e.error }

// errFound makes the exit code 3: a check found a problem. The command has printed the
// problem, so this error is not printed.
var errFound = errors.New("a check found something")
