package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/report"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/internal/ui"
)

func newSimulate() *cobra.Command {
	var asJSON, list, show bool
	var picture string
	cmd := &cobra.Command{
		Use:   "simulate [SCENARIO | FILE | -]",
		Short: "simulate a load on a modelled table",
		Long: `Simulate runs a scenario on a model of the connection tracking table, under the
limits of the configuration. It prints ctwarden's decisions, and the losses with
ctwarden, without it, and with a cron job that doubles max every minute. It changes
no kernel. Time is simulated: hours take a moment.

A scenario is built in (--list), or a file. To write one, start from a built-in
scenario: --show prints its text.`,
		Example: `  ctwarden simulate --list
  ctwarden simulate syn_flood
  ctwarden simulate --show syn_flood > mine.scenario
  ctwarden simulate mine.scenario --svg curve.svg`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if list || len(args) == 0 {
				return listScenarios(out)
			}
			if show {
				text, err := tablesim.BuiltInText(args[0])
				if err != nil {
					return hint(err, "ctwarden simulate --list")
				}
				_, err = io.WriteString(out, text)
				return err
			}
			return simulate(cmd, args[0], picture, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	cmd.Flags().StringVar(&picture, "svg", "", "also write the curve as a picture to this `file`")
	cmd.Flags().BoolVar(&list, "list", false, "list the built-in scenarios")
	cmd.Flags().BoolVar(&show, "show", false, "print the text of a built-in scenario")
	return cmd
}

// simulate runs a scenario and prints the result.
func simulate(cmd *cobra.Command, name, picture string, asJSON bool) error {
	out := cmd.OutOrStdout()
	cfg, err := config.Load(configSource(cmd))
	if err != nil {
		return err
	}
	scenario, err := readScenario(name, cmd.InOrStdin())
	if err != nil {
		return err
	}
	result := tablesim.Run(scenario, &cfg.Limits)
	if picture != "" {
		if err := writePicture(picture, result, &cfg.Limits); err != nil {
			return err
		}
	}
	if asJSON {
		return report.WriteJSON(out, result)
	}
	if err := result.WriteTimeline(out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\n%s\n", curve(result, 72, 12))
	return err
}

func listScenarios(out io.Writer) error {
	w := ui.NewTable(out)
	for _, name := range tablesim.BuiltInNames() {
		s, err := tablesim.BuiltIn(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%s\n", name, s.About)
	}
	return w.Flush()
}

// maxScenario bounds the text of a scenario.
const maxScenario = 1 << 20

// readScenario finds a scenario by its name or reads it from a file.
func readScenario(name string, stdin io.Reader) (*tablesim.Scenario, error) {
	if slices.Contains(tablesim.BuiltInNames(), name) {
		return tablesim.BuiltIn(name)
	}
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(name, "/.") {
			return nil, hint(fmt.Errorf("unknown scenario %q", name), "ctwarden simulate --list")
		}
		if err != nil {
			return nil, fmt.Errorf("read scenario: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxScenario+1))
	if err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	}
	if len(text) > maxScenario {
		return nil, fmt.Errorf("read scenario: %s is longer than %d bytes", name, maxScenario)
	}
	s, err := tablesim.Parse(strings.TrimSuffix(filepath.Base(name), ".scenario"), string(text))
	if err != nil {
		return nil, hint(err, "ctwarden simulate --show syn_flood   # the format of a scenario")
	}
	return s, nil
}

// curve draws entries and max over the time of a result.
func curve(r *tablesim.Result, width, height int) string {
	if len(r.Curve) == 0 {
		return ""
	}
	entries, limit := ui.Columns(points(r.Curve), width)
	end := r.Curve[len(r.Curve)-1].At
	return ui.Plot(entries, limit, height, false,
		audit.Sanitise(fmt.Sprintf("%s: max (upper line) and entries (lower line) over %s", r.Scenario, end.Round(time.Second))))
}

// points converts a simulated curve for ui.
func points(curve []tablesim.Point) []ui.Point {
	drawn := make([]ui.Point, len(curve))
	for n := range curve {
		p := &curve[n]
		drawn[n] = ui.Point{At: p.At, Entries: p.Entries, Max: p.Max, Level: int(p.Level)}
	}
	return drawn
}
