package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/policy"
)

// A nagiosState is the exit code of a plugin for Nagios and its successors.
type nagiosState int

const (
	nagiosOK nagiosState = iota
	nagiosWarning
	nagiosCritical
	nagiosUnknown
)

func (s nagiosState) String() string {
	return [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[s]
}

// Error implements error: the exit code of a plugin is not an error's.
func (s nagiosState) Error() string { return "state " + s.String() }

// nagiosPatience is how long a plugin waits for the daemon: NRPE, Icinga and
// the like kill a plugin after 10 s, and then its reason is lost.
const nagiosPatience = 8 * time.Second

// staleAfter is how old a status may be: a turn waits for a minute at the most.
const staleAfter = 3 * time.Minute

// printNagios queries the status and prints it as a plugin does: an error is a
// state, too, one of the configuration included.
func printNagios(cmd *cobra.Command) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), nagiosPatience)
	defer cancel()
	cmd.SetContext(ctx)
	var r *status.Status
	limits := &policy.Limits{}
	cfg, err := config.Load(configSource(cmd))
	if err == nil {
		limits = &cfg.Limits
		r, err = queryStatus(cmd, cfg)
	}
	return nagios(cmd.OutOrStdout(), r, err, limits, time.Now())
}

// nagios writes the one line that a plugin may write, and returns its state as
// an error unless it is OK.
func nagios(w io.Writer, r *status.Status, err error, limits *policy.Limits, now time.Time) error {
	state, text := nagiosUnknown, ""
	if err != nil {
		text = "CONNTRACK UNKNOWN - " + err.Error()
	} else {
		var said []string
		state, said = judge(r, now)
		text = "CONNTRACK " + state.String() + " - " + strings.Join(said, ", ") + perfdata(r, limits)
	}
	// A bar would begin the perfdata, a newline the long text.
	if _, err := fmt.Fprintln(w, audit.Sanitise(text)); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	if state == nagiosOK {
		return nil
	}
	return state
}

// judge returns the worst state, and the reasons for every state.
func judge(r *status.Status, now time.Time) (nagiosState, []string) {
	state := nagiosOK
	var said []string
	add := func(s nagiosState, format string, args ...any) {
		state = max(state, s)
		said = append(said, strings.ReplaceAll(fmt.Sprintf(format, args...), "|", "/"))
	}
	if len(r.Tables) == 0 {
		return nagiosUnknown, []string{"no table has been looked at yet"}
	}
	t := &r.Tables[0]
	o := &t.Assessment.Observation
	if o.Absent {
		add(nagiosOK, "nf_conntrack is not loaded")
	} else {
		add(levelState(t.Level), "%s, %s of %d entries", t.Level, policy.Percent(t.Assessment.Fullness), o.Table.Max)
	}
	if !r.Running {
		add(nagiosWarning, "no daemon runs")
		return state, said
	}
	if age := now.Sub(r.At); age > staleAfter {
		add(nagiosCritical, "the daemon has not looked for %s", age.Round(time.Second))
	}
	if t.Held != policy.NotHeld && !t.Held.Quiet() && t.Held != policy.HeldNoTable && t.Held != policy.HeldFalling {
		add(heldState(t), "held: %s", t.HeldText)
	}
	if r.Audit != nil && r.Audit.Error != "" {
		add(nagiosCritical, "audit log: %s", r.Audit.Error)
	}
	for _, what := range slices.Sorted(maps.Keys(r.Errors)) {
		add(nagiosWarning, "trouble: %s", what)
	}
	for i := range r.Tables[1:] {
		if other := &r.Tables[1+i]; other.Level >= policy.High {
			add(levelState(other.Level), "netns %d %s", other.NetNS, other.Level)
		}
	}
	return state, said
}

func levelState(l policy.Level) nagiosState {
	switch l {
	case policy.Calm:
		return nagiosOK
	case policy.Exhausted:
		return nagiosCritical
	}
	return nagiosWarning
}

// heldState is the state of a table by its hold: ctwarden needs a person when a
// hold blocks it while the table fills.
func heldState(t *loop.TableStatus) nagiosState {
	if t.Level >= policy.High {
		return nagiosCritical
	}
	return nagiosWarning
}

func perfdata(r *status.Status, limits *policy.Limits) string {
	if len(r.Tables) == 0 || r.Tables[0].Assessment.Observation.Absent {
		return ""
	}
	t := &r.Tables[0]
	o := &t.Assessment.Observation
	warn, crit := limits.Levels.ElevatedEnter, limits.Levels.ExhaustedEnter
	c := o.Table.Counters
	if o.Table.Max == 0 { // no limit, so no thresholds and no fullness
		return fmt.Sprintf(" | entries=%d;;;0 full_drops=%dc early_drops=%dc insert_failed=%dc changed=%d",
			o.Table.Entries, c.FullDrops(), c.EarlyDrop, c.InsertFailed, len(r.Changed))
	}
	return fmt.Sprintf(" | entries=%d;%d;%d;0;%d fullness=%.2f%%;%.2f;%.2f;0;100 full_drops=%dc early_drops=%dc insert_failed=%dc changed=%d",
		o.Table.Entries, warn.Of(o.Table.Max), crit.Of(o.Table.Max), o.Table.Max,
		float64(t.Assessment.Fullness)/100, float64(warn)/100, float64(crit)/100,
		c.FullDrops(), c.EarlyDrop, c.InsertFailed, len(r.Changed))
}
