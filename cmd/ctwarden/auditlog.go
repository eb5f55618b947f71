package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/incident"
	review "github.com/ctwarden/ctwarden/internal/report"
	"github.com/ctwarden/ctwarden/policy"
)

// openAudit opens the audit log, with a copy in the journal where there is one.
func openAudit(cfg *config.Config, say *slog.Logger, carry func() (audit.Kind, any)) (*audit.Log, error) {
	o := audit.Options{
		Carry:       carry,
		SegmentSize: int64(cfg.Audit.MaxSize), SegmentAge: cfg.Audit.MaxAge,
		KeepSize: int64(cfg.Audit.KeepSize), KeepAge: cfg.Audit.KeepAge,
		Notice: func(err error) { say.Warn("audit log", "error", err) },
	}
	if journal.Enabled() {
		o.Mirror = new(audit.Journal).Mirror
	}
	log, err := audit.Open(cfg.Audit.Path, o)
	if errors.Is(err, audit.ErrInUse) {
		err = hint(err, "ctwarden status   # is the daemon running already?")
	}
	return log, err
}

// voiceLog is the daemon's own log: lines without time on a stream that the
// journal gives one, with it otherwise.
func voiceLog(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{}
	if journaled, err := journal.StderrIsJournalStream(); err == nil && journaled {
		o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func newAudit() *cobra.Command {
	c := &cobra.Command{
		Use:        "audit",
		SuggestFor: []string{"log", "logs", "journal", "tail", "verify"},
		Short:      "read and check the record of what ctwarden saw, decided and did",
		Example: `  ctwarden audit show --since 2h
  ctwarden audit tail -f
  ctwarden audit verify`,
	}
	c.AddCommand(newAuditShow(), newAuditTail(), newAuditVerify())
	return c
}

// choice is what audit show and tail choose records by.
type choice struct {
	since, until, incident string
	kinds                  []string
	json                   bool
	log                    string
}

func (c *choice) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.since, "since", "", "not before this `time`: 2026-01-02T15:04:05Z, 2026-01-02 (of UTC), or how long ago, as in 90m")
	f.StringVar(&c.until, "until", "", "before this `time`, written likewise")
	f.StringVar(&c.incident, "incident", "", "of the incident with this `ID`, or of the last")
	f.StringSliceVar(&c.kinds, "kind", nil, "of these `kinds`, as in plan,outcome")
	f.BoolVar(&c.json, "json", false, "print the records as they stand in the log")
	logFlag(cmd, &c.log)
}

func (c *choice) filter(now time.Time) (audit.Filter, error) {
	f := audit.Filter{Incident: c.incident}
	var err error
	if f.Since, err = when(c.since, now); err != nil {
		return f, err
	}
	if f.Until, err = when(c.until, now); err != nil {
		return f, err
	}
	for _, name := range c.kinds {
		kind := audit.Kind(name)
		if !kind.Known() {
			return f, fmt.Errorf("unknown kind %q: expected one of %s", name, listed(audit.Kinds()))
		}
		f.Kinds = append(f.Kinds, kind)
	}
	return f, nil
}

// when reads a time or a duration before now; "" is the zero time.
func when(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return time.Time{}, fmt.Errorf("time %q: expected 2026-01-02T15:04:05Z, 2026-01-02, or a duration such as 90m", text)
	}
	return now.Add(-d), nil
}

func newAuditShow() *cobra.Command {
	var c choice
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "print the record",
		Example: "  ctwarden audit show --since 1h --kind plan,outcome",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, filter, err := c.place(cmd)
			if err != nil {
				return err
			}
			return printRecords(cmd.OutOrStdout(), c.json, func(yield func(audit.Record, error) bool) {
				audit.Read(cmd.Context(), path, filter)(yield)
			})
		},
	}
	c.flags(cmd)
	return cmd
}

func newAuditTail() *cobra.Command {
	var c choice
	var follow bool
	var lines int
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "print the last records, and with -f those to come",
		Example: `  ctwarden audit tail -f
  ctwarden audit tail -n 100 --kind hold`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if lines < 0 {
				return usageError{fmt.Errorf("-n %d: expected a number from 0", lines), cmd.CommandPath()}
			}
			path, filter, err := c.place(cmd)
			if err != nil {
				return err
			}
			last, err := lastRecords(cmd.Context(), path, filter, lines)
			if err != nil {
				return err
			}
			for _, r := range last {
				if err := printRecord(cmd.OutOrStdout(), c.json, r); err != nil {
					return err
				}
				filter.After = max(filter.After, r.Seq)
			}
			if !follow {
				return nil
			}
			ticks := time.NewTicker(500 * time.Millisecond)
			defer ticks.Stop()
			return printRecords(cmd.OutOrStdout(), c.json, audit.Follow(cmd.Context(), path, filter, ticks.C))
		},
	}
	c.flags(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more")
	cmd.Flags().IntVarP(&lines, "lines", "n", 20, "how many of the last records")
	return cmd
}

// place returns where the log is, and what to choose of it.
func (c *choice) place(cmd *cobra.Command) (string, audit.Filter, error) {
	filter, err := c.filter(time.Now())
	if err != nil {
		return "", filter, usageError{err, cmd.CommandPath()}
	}
	path, err := logPath(cmd, c.log)
	if err == nil && c.incident == "last" {
		var newest incident.Incident
		newest, err = find(cmd.Context(), path, c.incident)
		filter.Incident = newest.ID
	}
	return path, filter, err
}

// lastRecords returns the last n records that the filter chooses.
func lastRecords(ctx context.Context, path string, filter audit.Filter, n int) ([]audit.Record, error) {
	var last []audit.Record
	for r, err := range audit.Read(ctx, path, filter) {
		if _, ok := errors.AsType[*audit.LineError](err); ok {
			continue // audit verify tells of it
		}
		if err != nil {
			return nil, err
		}
		last = append(last, r.Clone())
		if len(last) > n {
			last = slices.Delete(last, 0, 1)
		}
	}
	return last, nil
}

func printRecords(w io.Writer, asJSON bool, records func(func(audit.Record, error) bool)) error {
	out := bufio.NewWriter(w)
	for r, err := range records {
		if damaged, ok := errors.AsType[*audit.LineError](err); ok {
			fmt.Fprintf(out, "# %s (see: ctwarden audit verify)\n", audit.Sanitise(damaged.Error()))
			continue
		}
		if err != nil {
			return errors.Join(out.Flush(), ended(err))
		}
		if err := printRecord(out, asJSON, r); err != nil {
			return err
		}
		if out.Buffered() > 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	return out.Flush()
}

// ended turns the end of following by Ctrl-C into a good end.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func printRecord(w io.Writer, asJSON bool, r audit.Record) error {
	line := r.Line()
	if !asJSON {
		line = r.AppendText(nil)
	} else if !bytes.HasSuffix(line, []byte("\n")) {
		line = append(slices.Clone(line), '\n')
	}
	_, err := w.Write(line)
	return err
}

func newAuditVerify() *cobra.Command {
	var noRedecide, asJSON bool
	var head, journal, path string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "check that no record was altered, removed, inserted or reordered, and decide every plan again",
		Long: `Verify checks the hash chain over all segments and, unless told otherwise,
decides every recorded plan again from its recorded state and observation. Exit
code 3 says that something is wrong; each finding names its record.

The end of a log can be cut, and all of it written anew, without a trace in the
log itself. Compare it with the copies in the journal (--journal), which may be
another host's, or with a hash that you know from elsewhere (--head).`,
		Example: "  journalctl -u ctwarden -o json | ctwarden audit verify --journal -\n" +
			"  ctwarden audit verify --head 1042:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := audit.Verifier{}
			if head != "" {
				known, err := parseHead(head)
				if err != nil {
					return usageError{err, cmd.CommandPath()}
				}
				v.Known = append(v.Known, known)
			}
			path, err := logPath(cmd, path)
			if err != nil {
				return err
			}
			if journal != "" {
				known, err := openHeads(journal, cmd.InOrStdin())
				if err != nil {
					return err
				}
				v.Known = append(v.Known, known...)
			}
			if !noRedecide {
				v.Redecide = newRedecider().check
			}
			result, err := v.Verify(cmd.Context(), path)
			if err != nil {
				return err
			}
			return printVerified(cmd.OutOrStdout(), asJSON, &result)
		},
	}
	logFlag(cmd, &path)
	cmd.Flags().BoolVar(&noRedecide, "no-redecide", false, "check the chain only")
	cmd.Flags().StringVar(&head, "head", "", "a record known from elsewhere, as `SEQ:HASH`")
	cmd.Flags().StringVar(&journal, "journal", "", "compare with the copies in the journal: a `file` of journalctl -o json, or - for stdin")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func printVerified(w io.Writer, asJSON bool, r *audit.Result) error {
	if asJSON {
		if err := review.WriteJSON(w, r); err != nil {
			return err
		}
	} else {
		for _, p := range r.Problems {
			fmt.Fprintln(w, p.String())
		}
		fmt.Fprintf(w, "%d records, %d problems\n", r.Records, len(r.Problems))
	}
	if len(r.Problems) > 0 {
		return errFound
	}
	return nil
}

// A redecider decides recorded plans again: the limits stand in the config
// record before, state and observation in the plan itself.
type redecider struct {
	limits map[string]policy.Limits
}

func newRedecider() *redecider { return &redecider{limits: map[string]policy.Limits{}} }

func (d *redecider) check(r audit.Record) error {
	switch r.Kind {
	case audit.KindConfig:
		var c configRecord
		if err := r.Decode(&c); err != nil {
			return err
		}
		if c.Limits.Digest() != c.Digest {
			return errors.New("the limits do not have the digest that the record gives")
		}
		d.limits[c.Digest] = c.Limits
	case audit.KindPlan, audit.KindHold, audit.KindBreaker:
		return d.again(r)
	}
	return nil
}

func (d *redecider) again(r audit.Record) error {
	var recorded struct {
		Limits      string             `json:"limits"`
		State       policy.State       `json:"state"`
		Observation policy.Observation `json:"observation"`
		policy.Plan
	}
	if err := r.Decode(&recorded); err != nil {
		return err
	}
	limits, ok := d.limits[recorded.Limits]
	if !ok {
		return errors.New("the limits of this plan are not in the log (removed by retention?)")
	}
	a := limits.Assess(&recorded.State, &recorded.Observation)
	plan := limits.Decide(&recorded.State, &a)
	if plan.Held != recorded.Held || !slices.Equal(plan.Actions, recorded.Actions) {
		return fmt.Errorf("decided again: %s; recorded: %s", decision(&plan), decision(&recorded.Plan))
	}
	return nil
}

// decision says what a plan comes to.
func decision(p *policy.Plan) string {
	if !p.Acts() {
		return "held, " + p.Held.Sentence()
	}
	texts := make([]string, len(p.Actions))
	for n := range p.Actions {
		texts[n] = p.Actions[n].Sentence()
		if p.Actions[n].Would {
			texts[n] = "would " + texts[n]
		}
	}
	return strings.Join(texts, ", ")
}
