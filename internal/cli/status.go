package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/report"
	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
)

func newStatus() *cobra.Command {
	var asJSON, watch, asNagios bool
	var every time.Duration
	cmd := &cobra.Command{
		Use:        "status",
		SuggestFor: []string{"state", "info", "watch", "top"},
		Short:      "the table, what ctwarden changed, what waits and why",
		Long: `Status queries the running daemon. Without one it reads the table and the
ledger itself.

With --nagios it prints one line with perfdata and exits with 0 (calm), 1 (elevated
or high, no daemon, a pause), 2 (exhausted, held in a table that fills, no audit, a
daemon that hangs) or 3 (unknown).`,
		Example: `  ctwarden status --watch
  watch -n 60 ctwarden status --nagios`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case asJSON && watch || asJSON && asNagios || watch && asNagios:
				return usageError{errors.New("--json, --watch and --nagios exclude each other"), cmd.CommandPath()}
			case every < 100*time.Millisecond:
				return usageError{fmt.Errorf("--every %s: at least 100ms is needed", every), cmd.CommandPath()}
			case asNagios:
				return printNagios(cmd)
			}
			return printStatus(cmd, asJSON, watch, every)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	cmd.Flags().BoolVar(&watch, "watch", false, "a live screen with a curve; one line for each look where there is no terminal")
	cmd.Flags().DurationVar(&every, "every", time.Second, "how often --watch looks")
	cmd.Flags().BoolVar(&asNagios, "nagios", false, "one line with perfdata, and the exit codes of a Nagios plugin")
	return cmd
}

// printStatus prints the status once, or at an interval.
func printStatus(cmd *cobra.Command, asJSON, watch bool, every time.Duration) error {
	cfg, err := loadForPaths(cmd) // a mistake in the file must not hide the status
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	look := func() (*status.Status, error) { return queryStatus(cmd, cfg) }
	if watch {
		return watchStatus(cmd.Context(), out, every, look, func() ui.Terminal { return ui.TerminalOf(out, os.Getenv) })
	}
	r, err := look()
	if err != nil {
		return err
	}
	if asJSON {
		return report.WriteJSON(out, r)
	}
	return printScreen(out, r)
}

// queryStatus returns the daemon's status, or reads the kernel where no daemon
// runs.
func queryStatus(cmd *cobra.Command, cfg *config.Config) (*status.Status, error) {
	s, err := status.Query(cmd.Context(), cfg.Control.Socket)
	switch {
	case control.NoDaemon(err):
		return status.Read(cmd.Root().Version, &cfg.Limits, cfg.State.Dir)
	case err != nil:
		return nil, explainControl(cmd, cfg, err)
	}
	return s, nil
}

// printScreen prints one screen.
func printScreen(out io.Writer, s *status.Status) error {
	w := ui.NewTable(out)
	eachLine(s, func(what, text string) { fmt.Fprintf(w, "%s\t%s\n", what, text) })
	return w.Flush()
}

// eachLine calls row with every line of a screen and its subject.
func eachLine(s *status.Status, row func(what, text string)) {
	line := func(what, format string, args ...any) {
		row(what, audit.Sanitise(fmt.Sprintf(format, args...)))
	}
	if s.Running {
		line("daemon", "running since %s, version %s, mode %s", ui.Time(s.Since), s.Version, s.Mode)
	} else {
		line("daemon", "not running; read directly from the kernel")
	}
	for i := range s.Tables {
		printTable(&s.Tables[i], s.Running, line)
	}
	printSources(s.Sources, s.Unheard, line)
	printNamespaces(s.Namespaces, line)
	if s.Audit != nil {
		line("audit", "record %d, hash %.12s…", s.Audit.Seq, s.Audit.Hash)
		if s.Audit.Error != "" {
			line("audit", "TROUBLE: %s", s.Audit.Error)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(s.Errors)) {
		line("trouble", "%s: %s", what, s.Errors[what])
	}
	for i, e := range s.Changed {
		what := ""
		if i == 0 {
			what = "changed"
		}
		line(what, "%s %d -> %d (%s)", e.Sysctl, e.Original, e.ReadBack, e.Reason.Sentence())
	}
	switch {
	case s.Ledger != "":
		line("changed", "not known: %s; sudo ctwarden status", s.Ledger)
	case len(s.Changed) == 0:
		line("changed", "nothing")
	default:
		line("undo", "ctwarden revert --print")
	}
}

// printTable prints the lines of a table. Growth and losses are differences
// between readings, which only a daemon has.
func printTable(t *loop.TableStatus, watched bool, line func(string, string, ...any)) {
	a := &t.Assessment
	o := &a.Observation
	name := "table"
	if t.NetNS != 0 {
		name = fmt.Sprintf("netns %d", t.NetNS)
		if t.Name != "" && t.Name != name {
			line(name, "%s", t.Name)
			name = ""
		}
	}
	if o.Absent {
		line(name, "none: nf_conntrack is not loaded")
		return
	}
	line(name, "%s %s  %d of %d entries, %d buckets", ui.Bar(a.Fullness.Of(barWidth), barWidth), policy.Percent(a.Fullness), o.Table.Entries, o.Table.Max, o.Table.Buckets)
	level := t.Level.String()
	if t.Cause != policy.NoCause {
		level += ", cause " + t.Cause.String()
	}
	if t.Incident != "" {
		level += ", incident " + t.Incident
	}
	line("level", "%s", level)
	if watched {
		line("forecast", "%s", forecast(a))
	}
	line("budget", "max may go up to %d (%d MiB, %d bytes an entry)", a.Budget.Max, a.Budget.Bytes>>20, a.Budget.PerEntry)
	if watched {
		line("lost", "%d packets dropped, %d entries early dropped, %d insertions failed", o.Table.Counters.FullDrops(), o.Table.Counters.EarlyDrop, o.Table.Counters.InsertFailed)
	} else {
		line("lost", "not counted without a daemon; conntrack -S prints the kernel's own counters")
	}
	if t.Held != policy.NotHeld {
		held := t.HeldText
		if t.Held == policy.HeldPaused {
			held += fmt.Sprintf(", for %s more; ctwarden resume ends it", t.State.PausedUntil.Since(o.Now).Round(time.Second))
		}
		line("held", "%s", held)
	}
	for _, rung := range t.Ladder {
		if rung.Type != policy.NoAction {
			line("", "%s: %s", rung.Type, rung.Held.Sentence())
		}
	}
}

func forecast(a *policy.Assessment) string {
	if a.FullIn >= policy.Never {
		return "not growing"
	}
	return fmt.Sprintf("full in %s at %+.0f entries/s", a.FullIn.Round(time.Second), a.Trend.Rate())
}

const barWidth = 30
