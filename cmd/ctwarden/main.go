package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

// The exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
	exitFound = 3 // a check found something
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Main runs the command line and returns the exit code. Tests call it.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	return speak(stderr, err)
}

// newRoot returns the command line.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "ctwarden",
		Short: "keep the connection tracking table from filling",
		Long: `ctwarden keeps the Linux connection tracking table from filling, unattended:
it hears the kernel, measures the table, acts within bounds, checks whether it
helped, can undo everything, and writes down why.`,
		Example: `  ctwarden status            how the table stands, and what ctwarden changed
  ctwarden drill             a fire drill in a namespace of its own
  ctwarden revert            put every kernel value back`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{err, cmd.CommandPath()}
	})
	root.PersistentFlags().String("config", "", "configuration file (default /etc/ctwarden/ctwarden.yaml, which may be missing)")
	root.AddCommand(
		newRun(), newStatus(), newDoctorCommand(), newDiagnose(), newDrill(), newSimulate(), newAudit(), newRevert(), newConfig(), newVersion(),
		newPause(), newResume(), newReload(), newMetrics(),
	)
	root.AddCommand(newIncident(), newRecommend(), newReplay())
	for _, c := range root.Commands() {
		refuseStrangers(c)
	}
	return root
}

// refuseStrangers makes a group of commands refuse a word that is none of
// them, and say what there is when there is no word.
func refuseStrangers(c *cobra.Command) {
	if c.HasSubCommands() && c.RunE == nil {
		c.Args = cobra.NoArgs
		c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	for _, sub := range c.Commands() {
		refuseStrangers(sub)
	}
	if args := c.Args; args != nil {
		c.Args = func(cmd *cobra.Command, given []string) error {
			if err := args(cmd, given); err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			return nil
		}
	}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), "ctwarden "+version+"\n")
			return err
		},
	}
}

// usageError is a command line that was not understood.
type usageError struct {
	err  error
	path string
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// foundError says that a check found something: exit code 3. What it found was
// printed already, so it has no text of its own.
var errFound = errors.New("a check found something")
