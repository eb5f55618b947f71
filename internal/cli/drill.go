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
		Short: "run a fire drill on this kernel: flood, detect, act, verify, clean up",
		Long: `Drill makes a network namespace of its own, floods its table with real packets,
and runs the daemon's loop on it. The loop deletes entries and shortens timeouts in
that namespace only. A few long-lived connections carry data throughout; they must
survive.

nf_conntrack_max is one number for the whole host. Without --host-wide the drill
plans to raise it and does not. With --host-wide the drill raises it, and restores it
at the end. Ctrl-C restores every value at any time.`,
		Example: `  ctwarden drill
  ctwarden drill --host-wide   # really raises max, and restores it`,
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
	cmd.Flags().BoolVar(&hostWide, "host-wide", false, "really raise nf_conntrack_max, and restore it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the audit records instead of a timeline")
	return cmd
}
