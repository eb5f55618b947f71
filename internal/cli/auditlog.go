package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/record"
)

// newLogger returns the daemon's own log: lines without a time on a stream to
// the journal, which adds one, and with a time otherwise.
func newLogger(w io.Writer) *slog.Logger {
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

// choice has the flags by which audit show and tail choose records.
type choice struct {
	since, until, incident string
	kinds                  []string
	json                   bool
	log                    string
}

func (c *choice) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.since, "since", "", "not before this `time`: as it is printed, or 2026-01-02, 15:04, today, yesterday, 90m, 3d")
	f.StringVar(&c.until, "until", "", "before this `time`, written likewise")
	f.StringVar(&c.incident, "incident", "", "of the incident with this `ID`, or of the last")
	f.StringSliceVar(&c.kinds, "kind", nil, "of these `kinds`, as in plan,outcome")
	f.BoolVar(&c.json, "json", false, "print the records as they stand in the log")
	logFlag(cmd, &c.log)
}

func (c *choice) filter(now time.Time) (audit.Filter, error) {
	f := audit.Filter{Incident: c.incident}
	var err error
	if f.Since, err = parseTime(c.since, now); err != nil {
		return f, err
	}
	if f.Until, err = parseTime(c.until, now); err != nil {
		return f, err
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return f, fmt.Errorf("--since %s is not before --until %s", c.since, c.until)
	}
	for _, name := range c.kinds {
		kind := record.Kind(name)
		if !kind.Known() {
			return f, fmt.Errorf("unknown kind %q: expected one of %s", name, sortedList(record.Kinds()))
		}
		f.Kinds = append(f.Kinds, kind)
	}
	return f, nil
}

func newAuditShow() *cobra.Command {
	var c choice
	cmd := &cobra.Command{
		Use:   "show",
		Short: "print the record",
		Long: `Show prints the records of the audit log, oldest first, a line each.

Times are printed by this host's clock, with how far it is from UTC ("Z" for not at
all), and --since and --until take them as they are printed. They also take less:
a day, a time of today, "today", "yesterday", or how long ago, as in 90m or 3d.
A time without a zone is by this host's clock, as for journalctl; TZ=UTC before the
command makes it UTC. With --json the records are as in the log, in UTC.`,
		Example: `  ctwarden audit show --since 1h --kind plan,outcome
  ctwarden audit show --since "2026-11-20 19:00:00Z" --until 19:30`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, filter, err := c.place(cmd)
			if err != nil {
				return err
			}
			n, err := printRecords(cmd.OutOrStdout(), c.json, audit.Read(cmd.Context(), path, filter))
			if err == nil && n == 0 {
				return noneFits(cmd)
			}
			return err
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
			shown, after, err := c.last(cmd, path, filter, lines)
			switch {
			case err != nil:
				return err
			case follow:
				filter.After = after
				return c.follow(cmd, path, filter)
			case shown == 0 && lines > 0:
				return noneFits(cmd)
			}
			return nil
		},
	}
	c.flags(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more")
	cmd.Flags().IntVarP(&lines, "lines", "n", 20, "how many of the last records")
	return cmd
}

// last prints the last n records that the filter chooses. It returns how many
// there were, and the record that those to come follow.
func (c *choice) last(cmd *cobra.Command, path string, filter audit.Filter, n int) (shown int, after uint64, err error) {
	if n == 0 {
		newest, _, err := audit.Last(path)
		if err != nil {
			err = fmt.Errorf("read audit log: %w", err)
		}
		return 0, newest.Seq, err
	}
	last, err := lastRecords(cmd.Context(), path, filter, n)
	if err != nil {
		return 0, 0, err
	}
	for _, r := range last {
		if err := printRecord(cmd.OutOrStdout(), c.json, r); err != nil {
			return 0, 0, err
		}
		after = max(after, r.Seq)
	}
	return len(last), after, nil
}

// follow prints new records until the context ends.
func (c *choice) follow(cmd *cobra.Command, path string, filter audit.Filter) error {
	ticks := time.NewTicker(500 * time.Millisecond)
	defer ticks.Stop()
	_, err := printRecords(cmd.OutOrStdout(), c.json, audit.Follow(cmd.Context(), path, filter, ticks.C))
	return err
}

// place returns the path of the log, and the filter of its records.
func (c *choice) place(cmd *cobra.Command) (string, audit.Filter, error) {
	filter, err := c.filter(time.Now())
	if err != nil {
		return "", filter, usageError{err, cmd.CommandPath()}
	}
	path, err := logPath(cmd, c.log)
	if err == nil && c.incident == "last" {
		var newest incident.Incident
		newest, err = readIncident(cmd.Context(), path, c.incident)
		filter.Incident = newest.ID
	}
	return path, filter, err
}

// lastRecords returns the last n records that the filter chooses.
func lastRecords(ctx context.Context, path string, filter audit.Filter, n int) ([]audit.Record, error) {
	var last []audit.Record
	for r, err := range audit.Read(ctx, path, filter) {
		if _, ok := errors.AsType[*audit.LineError](err); ok {
			continue // audit verify reports it
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

// noneFits prints on stderr why there is no record.
func noneFits(cmd *cobra.Command) error {
	_, err := fmt.Fprintln(cmd.ErrOrStderr(), "ctwarden: no record of the log fits")
	return err
}

// printRecords prints records as they come, and returns how many there were.
func printRecords(w io.Writer, asJSON bool, records iter.Seq2[audit.Record, error]) (n int, err error) {
	out := bufio.NewWriter(w)
	for r, err := range records {
		if damaged, ok := errors.AsType[*audit.LineError](err); ok {
			fmt.Fprintf(out, "# %s (see: ctwarden audit verify)\n", audit.Sanitise(damaged.Error()))
			continue
		}
		if err != nil {
			return n, errors.Join(out.Flush(), ended(err))
		}
		n++
		if err := printRecord(out, asJSON, r); err != nil {
			return n, err
		}
		if out.Buffered() > 0 {
			if err := out.Flush(); err != nil {
				return n, err
			}
		}
	}
	return n, out.Flush()
}

// ended returns nil for the end of following by Ctrl-C.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func printRecord(w io.Writer, asJSON bool, r audit.Record) error {
	line := r.Line()
	if !asJSON {
		r.Time = r.Time.Local()
		line = r.AppendText(nil)
	} else if !bytes.HasSuffix(line, []byte("\n")) {
		line = append(slices.Clone(line), '\n')
	}
	_, err := w.Write(line)
	return err
}
