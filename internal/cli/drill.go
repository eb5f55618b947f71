package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/drill"
)

func newDrill() *cobra.Command {
	var hostWide, asJSON bool
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "a fire drill on this kernel: flood, detect, act, verify, clean up",
		Long: `Drill makes a network namespace of its own, floods its table with real packets,
and lets the daemon's loop deal with it: it deletes entries and shortens
timeouts there, and there only. A few long-lived connections carry data
throughout; they must survive.

nf_conntrack_max is one number for the whole host. Without --host-wide it is not
touched: raising it is told as "would". With --host-wide it is really raised,
and put back at the end. Ctrl-C cleans up at any moment.`,
		Example: `  ctwarden drill
  ctwarden drill --host-wide   # raises max for real, and puts it back`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(configSource(cmd))
			if err != nil {
				return err
			}
			p := &drillProgress{w: cmd.OutOrStdout(), json: asJSON}
			err = drill.Run(cmd.Context(), drill.Options{
				Version: cmd.Root().Version, Config: cfg, HostWide: hostWide,
				Progress: drill.Progress{Begin: p.begin, Fill: p.sample, Record: p.record, End: p.end},
			})
			if refused, ok := errors.AsType[*drill.RefusedError](err); ok {
				return hint(err, refused.Hints...)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&hostWide, "host-wide", false, "really raise nf_conntrack_max, and put it back")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the audit records instead of a timeline")
	return cmd
}
