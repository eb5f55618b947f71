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
		Short: "a recorded incident against another configuration: what would have happened",
		Long: `Replay lets the connections that arrived in a recorded incident arrive again, on a
model of the table, under the limits of a configuration (--config), and shows it
beside what was recorded.

Three things stand side by side: what the kernel counted, the model under the limits
that were in force, and the model under the other configuration. The second column
says how far the model is to be trusted: it should be near the first. Arrivals are
not recorded; they are inferred from how the table grew and from how long such
entries live, and the mix of entries is that of the looks into the table. Clients
that behave otherwise when they are refused are not modelled. No kernel is touched.`,
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
			whose := "in force on this host; --config FILE plays others"
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

// A replayResult is an incident as it was and as it would have been. Its JSON is a
// contract: docs/incidents.md.
type replayResult struct {
	Incident string `json:"incident"`
	// Recorded is what the log tells.
	Recorded recordedSum `json:"recorded"`
	// Model is the model under the limits in force then; Assumed says that
	// the log does not hold them, so that the defaults stand in.
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

// replay plays an incident under other limits. What was only told then could
// be done in the model, and is told there too.
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

// scenarioOf makes a scenario of what was recorded.
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
		return nil, errors.New("replay: nothing arrived in this incident")
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

// print prints the columns side by side; whose says where the other limits are
// from.
func (r *replayResult) print(out io.Writer, whose string) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	then := "model, limits of then"
	if r.Assumed {
		then = "model, default limits"
	}
	fmt.Fprintf(w, "%s\tcounted\t%s\tmodel, other limits\t\n", audit.Sanitise(r.Incident), then)
	model, other := &r.Model.Policy, &r.Other.Policy
	fmt.Fprintf(w, "packets lost\t%d\t%d\t%d\t\n", r.Recorded.Lost, model.Losses.Packets(), other.Losses.Packets())
	fmt.Fprintf(w, "entries evicted\t%d\t%d\t%d\t\n", r.Recorded.Evicted, model.Losses.EarlyDropped, other.Losses.EarlyDropped)
	fmt.Fprintf(w, "most entries\t%d\t%d\t%d\t\n", r.Recorded.Peak, model.PeakEntries, other.PeakEntries)
	fmt.Fprintf(w, "max at the end\t%d\t%d\t%d\t\n", r.Recorded.Max, model.Max, other.Max)
	fmt.Fprintf(w, "acts\t%d\t%d\t%d\t\n", r.Recorded.Acts, r.Model.Acts, r.Other.Acts)
	none, same := &r.Model.Nothing.Losses, &r.Other.Nothing.Losses
	fmt.Fprintf(w, "without ctwarden, lost\t\t%d\t%d\t\n", none.Packets(), same.Packets())
	fmt.Fprintf(w, "and evicted\t\t%d\t%d\t\n", none.EarlyDropped, same.EarlyDropped)
	if err := w.Flush(); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("\nWhat would have been done under the other limits:\n")
	for n := range r.Other.Timeline {
		if line := &r.Other.Timeline[n]; line.Kind == tablesim.ActionLine || line.Kind == tablesim.BreakerLine {
			fmt.Fprintf(&b, "%10s  %s\n", line.At.Round(time.Millisecond), audit.Sanitise(line.Text))
		}
	}
	fmt.Fprintf(&b, "\nThe other limits are those %s.\n", audit.Sanitise(whose))
	b.WriteString("The arrivals are inferred, not recorded: trust the last column as far as the second is near the first.\n")
	_, err := io.WriteString(out, b.String())
	return err
}
