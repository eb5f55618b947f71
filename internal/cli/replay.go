package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/incident"
	review "github.com/ctwarden/ctwarden/internal/report"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
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
			played, err := replay(&found, &cfg.Limits)
			if err != nil {
				return err
			}
			if asJSON {
				return review.WriteJSON(cmd.OutOrStdout(), played)
			}
			whose := "in force on this host (others: --config FILE)"
			if name := cmd.Flag("config").Value.String(); name != "" {
				whose = "of " + name
			}
			return played.print(cmd.OutOrStdout(), whose)
		},
	}
	logFlag(cmd, &path)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

// A replayResult is a recorded incident and its simulations. Its JSON is a contract:
// docs/incidents.md.
type replayResult struct {
	Incident string `json:"incident"`
	// Recorded are the figures of the log.
	Recorded recordedSum `json:"recorded"`
	// Model is the model under the limits in force then; Assumed is set if the log
	// lacks them and the model uses the defaults.
	Model   *tablesim.Result `json:"model"`
	Assumed bool             `json:"limits_assumed,omitempty"`
	// Other is the model under the other configuration.
	Other    *tablesim.Result   `json:"other"`
	Scenario *tablesim.Scenario `json:"scenario"`
}

type recordedSum struct {
	Lost    uint64 `json:"lost"`
	Evicted uint64 `json:"evicted"`
	Peak    uint64 `json:"peak"`
	Max     uint64 `json:"max"`
	Acts    int    `json:"acts"`
}

// maxIntervals bounds the detail of the arrivals.
const maxIntervals = 120

// replay simulates an incident under other limits. Actions that were only planned then
// are only planned in the model, too.
func replay(i *incident.Incident, other *policy.Limits) (*replayResult, error) {
	s, err := scenarioOf(i)
	if err != nil {
		return nil, err
	}
	then := policy.Defaults()
	if i.Limits != nil {
		then = *i.Limits
	} else {
		// Retention has removed the record that held them.
		then.NoHostWide = i.Counts.Would > 0
	}
	return &replayResult{
		Incident: i.ID, Assumed: i.Limits == nil, Scenario: s,
		Recorded: recordedSum{i.Losses.Packets, i.Losses.Evicted, i.Peak.Entries, i.Last.Max, i.Counts.Done - i.Counts.Restored},
		Model:    tablesim.Run(s, &then), Other: tablesim.Run(s, other),
	}, nil
}

// scenarioOf makes a scenario of a recorded incident.
func scenarioOf(i *incident.Incident) (*tablesim.Scenario, error) {
	arrivals := i.Arrivals(maxIntervals)
	if len(arrivals) < 3 || i.HostContext.Memory.Total == 0 {
		return nil, hint(fmt.Errorf("replay %s: the log holds too few readings of this incident", i.ID), "ctwarden incident show "+i.ID)
	}
	s := &tablesim.Scenario{
		Name: strings.ToLower(i.ID), Run: time.Duration(i.Last.At - i.First.At),
		Machine: tablesim.Machine{
			Memory: i.HostContext.Memory.Total, Available: i.HostContext.Memory.Available + i.First.Entries*i.HostContext.Budget.PerEntry,
			Max: i.Estimate().Max, Buckets: max(i.First.Buckets, 1), Timeouts: i.HostContext.Timeouts,
		},
	}
	s.Machine.Available = min(s.Machine.Available, s.Machine.Memory)
	if err := s.Machine.Kernel.UnmarshalText([]byte(shortRelease(i.Kernel))); err != nil {
		return nil, fmt.Errorf("replay %s: kernel %q: %w", i.ID, i.Kernel, err)
	}
	mix := i.Mix()
	for _, part := range [...]struct {
		class tablesim.Class
		share float64
	}{
		{tablesim.UDPUnreplied, mix.HalfOpen}, {tablesim.TCPShort, mix.Closing}, {tablesim.TCP, mix.Living},
	} {
		if n := uint64(math.Round(float64(i.First.Entries) * part.share)); n > 0 {
			s.Start = append(s.Start, tablesim.Start{Class: part.class, Entries: n})
		}
		for _, a := range arrivals {
			if rate := a.Number * part.share / a.For.Seconds(); rate >= 0.01 {
				s.Loads = append(s.Loads, tablesim.Load{At: a.At, For: a.For, Class: part.class, Rate: rate, To: rate, Lasting: connTime(part.class, s.Run)})
			}
		}
	}
	if len(s.Loads) == 0 {
		return nil, errors.New("replay: no connection arrived in this incident")
	}
	return s, nil
}

// connTime is how long a connection of the class has traffic: living ones
// outlast the incident.
func connTime(c tablesim.Class, run time.Duration) time.Duration {
	if c == tablesim.TCP {
		return run + time.Minute
	}
	return c.Duration()
}

// shortRelease returns the two numbers that a kernel release begins with; that
// of Debian 12 where there are none.
func shortRelease(release string) string {
	var major, minor int
	if n, err := fmt.Sscanf(release, "%d.%d", &major, &minor); n < 2 || err != nil {
		return "6.1"
	}
	return fmt.Sprintf("%d.%d", major, minor)
}

// print prints the columns; whose is the origin of the other limits.
func (r *replayResult) print(out io.Writer, whose string) error {
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
