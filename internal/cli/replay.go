package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/replay"
	"github.com/ctwarden/ctwarden/internal/report"
	"github.com/ctwarden/ctwarden/internal/tablesim"
)

func newReplay() *cobra.Command {
	var path string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "replay ID|last",
		Short: "simulate a recorded incident under another configuration",
		Long: `Replay simulates the connections of a recorded incident on a model of the table,
under the limits of a configuration (--config), and compares the result with the
record.

It prints three columns: the kernel's counts, the model under the limits of that
time, and the model under the other configuration. Trust the third column as far as
the second is close to the first. Arrivals are not recorded: replay infers them from
the growth of the table and the lifetime of its entries. The mix of entries is from
the recorded samples of the table. Clients that retry are not modelled. Replay
changes no kernel.`,
		Example: "  ctwarden replay last --config ./more-memory.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := config.Load(configSource(cmd))
			if err != nil {
				return err
			}
			path, err := logPath(cmd, path)
			if err != nil {
				return err
			}
			found, err := readIncident(cmd.Context(), path, args[0])
			if err != nil {
				return err
			}
			result, err := replay.Run(&found, &cfg.Limits)
			if errors.Is(err, replay.ErrTooShort) {
				return hint(err, "ctwarden incident show "+found.ID)
			}
			if err != nil {
				return err
			}
			if asJSON {
				return report.WriteJSON(cmd.OutOrStdout(), result)
			}
			whose := "in force on this host (others: --config FILE)"
			if name := cmd.Flag("config").Value.String(); name != "" {
				whose = "of " + name
			}
			return printReplay(cmd.OutOrStdout(), result, whose)
		},
	}
	logFlag(cmd, &path)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

// printReplay prints the columns; whose is the origin of the other limits.
func printReplay(out io.Writer, r *replay.Result, whose string) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	then := "model, recorded limits"
	if r.Assumed {
		then = "model, default limits"
	}
	fmt.Fprintf(w, "%s\tcounted\t%s\tmodel, other limits\t\n", audit.Sanitise(r.Incident), then)
	model, other := &r.Model.Policy, &r.Other.Policy
	fmt.Fprintf(w, "packets lost\t%d\t%d\t%d\t\n", r.Recorded.Lost, model.Losses.Packets(), other.Losses.Packets())
	fmt.Fprintf(w, "entries evicted\t%d\t%d\t%d\t\n", r.Recorded.Evicted, model.Losses.EarlyDropped, other.Losses.EarlyDropped)
	fmt.Fprintf(w, "most entries\t%d\t%d\t%d\t\n", r.Recorded.Peak, model.PeakEntries, other.PeakEntries)
	fmt.Fprintf(w, "max at the end\t%d\t%d\t%d\t\n", r.Recorded.Max, model.Max, other.Max)
	fmt.Fprintf(w, "actions\t%d\t%d\t%d\t\n", r.Recorded.Acts, r.Model.Acts, r.Other.Acts)
	none, same := &r.Model.Nothing.Losses, &r.Other.Nothing.Losses
	fmt.Fprintf(w, "without ctwarden, lost\t\t%d\t%d\t\n", none.Packets(), same.Packets())
	fmt.Fprintf(w, "and evicted\t\t%d\t%d\t\n", none.EarlyDropped, same.EarlyDropped)
	if err := w.Flush(); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("\nActions under the other limits:\n")
	for n := range r.Other.Timeline {
		if line := &r.Other.Timeline[n]; line.Kind == tablesim.ActionLine || line.Kind == tablesim.BreakerLine {
			fmt.Fprintf(&b, "%10s  %s\n", line.At.Round(time.Millisecond), audit.Sanitise(line.Text))
		}
	}
	fmt.Fprintf(&b, "\nThe other limits are those %s.\n", audit.Sanitise(whose))
	b.WriteString("Arrivals are inferred, not recorded: trust the last column as far as the second is close to the first.\n")
	_, err := io.WriteString(out, b.String())
	return err
}
