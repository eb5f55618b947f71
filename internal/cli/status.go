package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/netns"
	review "github.com/ctwarden/ctwarden/internal/report"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// A report is what status prints.
type report agent.Report

func newStatus() *cobra.Command {
	var asJSON, watch, asNagios bool
	var every time.Duration
	cmd := &cobra.Command{
		Use:        "status",
		SuggestFor: []string{"state", "info", "watch", "top"},
		Short:      "how the table stands, what ctwarden changed, what it holds back and why",
		Long: `Status asks the running daemon. Without one it looks at the table itself and at
the ledger, and says so.

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

// printStatus prints the status once, or every so often.
func printStatus(cmd *cobra.Command, asJSON, watch bool, every time.Duration) error {
	cfg, err := places(cmd) // a mistake in the file hides nothing from who looks
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	look := func() (report, error) { return lookAround(cmd, cfg) }
	if watch {
		return watchStatus(cmd.Context(), out, every, look, func() ui.Terminal { return ui.TerminalOf(out, os.Getenv) })
	}
	r, err := look()
	if err != nil {
		return err
	}
	if asJSON {
		return review.WriteJSON(out, r)
	}
	return r.print(out)
}

// lookAround asks the daemon, or looks without one.
func lookAround(cmd *cobra.Command, cfg *config.Config) (r report, err error) {
	text, err := control.Status(cmd.Context(), cfg.Control.Socket)
	switch {
	case control.NoDaemon(err):
		return lookMyself(cmd, cfg)
	case err != nil:
		return r, unanswered(cmd, cfg, err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("read answer of daemon: %w", err)
	}
	return r, nil
}

// lookMyself tells what can be told without a daemon.
func lookMyself(cmd *cobra.Command, cfg *config.Config) (r report, err error) {
	r = report{Version: cmd.Root().Version}
	own, err := netns.Current()
	if err != nil {
		return r, err
	}
	look := watcher.NewSampler(own, false)
	defer func() { err = errors.Join(err, look.Close(), own.Close()) }()
	o, err := look.Observe()
	if err != nil {
		return r, fmt.Errorf("look at table: %w", err)
	}
	var s policy.State
	a := cfg.Limits.Assess(&s, &o)
	r.At, r.Mode = o.At, cfg.Limits.Mode
	r.Tables = []loop.TableStatus{{Level: a.Level, Cause: a.Cause, Assessment: a, Text: a.Sentence()}}
	ledger, err := remediate.ReadLedger(remediate.Options{Dir: cfg.State.Dir})
	switch {
	case errors.Is(err, fs.ErrPermission):
		r.Ledger = err.Error()
	case err != nil:
		return r, err
	}
	r.Changed = ledger.Entries
	return r, nil
}

// print prints one screen.
func (r *report) print(out io.Writer) error {
	w := ui.NewTable(out)
	r.tell(func(what, text string) { fmt.Fprintf(w, "%s\t%s\n", what, text) })
	return w.Flush()
}

// tell gives row every line of a screen, and what it is about.
func (r *report) tell(row func(what, text string)) {
	line := func(what, format string, args ...any) {
		row(what, audit.Sanitise(fmt.Sprintf(format, args...)))
	}
	if r.Running {
		line("daemon", "running since %s, version %s, mode %s", ui.Time(r.Since), r.Version, r.Mode)
	} else {
		line("daemon", "not running (this is a look of my own)")
	}
	for i := range r.Tables {
		printTable(&r.Tables[i], r.Running, line)
	}
	printSources(r.Sources, r.Unheard, line)
	printNamespaces(r.Neighbours, line)
	if r.Audit != nil {
		line("audit", "record %d, hash %.12s…", r.Audit.Seq, r.Audit.Hash)
		if r.Audit.Error != "" {
			line("audit", "TROUBLE: %s", r.Audit.Error)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(r.Errors)) {
		line("trouble", "%s: %s", what, r.Errors[what])
	}
	for i, e := range r.Changed {
		what := ""
		if i == 0 {
			what = "changed"
		}
		line(what, "%s %d -> %d (%s)", e.Sysctl, e.Original, e.ReadBack, e.Reason.Sentence())
	}
	switch {
	case r.Ledger != "":
		line("changed", "not known: %s; sudo ctwarden status", r.Ledger)
	case len(r.Changed) == 0:
		line("changed", "nothing")
	default:
		line("undo", "ctwarden revert --print")
	}
}

// printTable tells of a table. Growth and losses are differences, which only a
// daemon that goes on looking can tell.
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
