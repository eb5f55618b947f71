package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/report"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
)

func newIncident() *cobra.Command {
	c := &cobra.Command{
		Use:        "incident",
		SuggestFor: []string{"incidents", "report", "list", "events"},
		Short:      "show what happened, what ctwarden did and why, and how to undo it",
		Example: `  ctwarden incident list
  ctwarden incident report last
  ctwarden incident report INC-20261120T190000Z -o report.html`,
	}
	c.AddCommand(newIncidentList(), newIncidentShow(), newIncidentReport())
	return c
}

// logFlag adds the flag for a log other than the configured one.
func logFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "log", "", "read this audit log instead of the configured one: a `file`, perhaps of another host")
}

// logPath returns the path of the audit log: the given one, or the configured one.
func logPath(cmd *cobra.Command, given string) (string, error) {
	path := given
	if path == "" {
		cfg, err := loadForPaths(cmd)
		if err != nil {
			return "", err
		}
		path = cfg.Audit.Path
	}
	switch there, err := os.Stat(path); {
	case err == nil && there.IsDir():
		return "", hint(fmt.Errorf("read audit log: %s is a directory", path), cmd.CommandPath()+" --log "+ui.Quote(filepath.Join(path, "audit.jsonl")))
	case errors.Is(err, fs.ErrNotExist) && given == "":
		return "", hint(fmt.Errorf("read audit log: %w", err), "ctwarden status   # shows whether the daemon runs")
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read audit log: %w", err)
	}
	return path, nil
}

// sameLog returns a command that reads the same log: the default one needs no
// flag.
func sameLog(command, path string) string {
	if path == config.Default().Audit.Path {
		return command
	}
	return command + " --log " + ui.Quote(path)
}

// readIncidents adds the selected records of a log to a grouper. A file without any
// record is an error.
func readIncidents(ctx context.Context, path string, f audit.Filter, g *incident.Grouper) error {
	records, strange := 0, 0
	for r, err := range audit.Read(ctx, path, f) {
		if damaged, ok := errors.AsType[*audit.LineError](err); ok {
			strange++
			g.Damaged(damaged)
			continue
		}
		if err != nil {
			return err
		}
		records++
		g.Add(incident.Event{Seq: r.Seq, Time: r.Time, Kind: r.Kind, Line: r.Line()})
	}
	return checkRecords(path, records, strange)
}

// checkRecords returns an error for a file that has lines and no record among them.
func checkRecords(path string, records, strange int) error {
	if records > 0 || strange == 0 {
		return nil
	}
	return hint(fmt.Errorf("read audit log: no line of %s is a record (%d were read)", path, strange),
		"head -n 1 "+ui.Quote(path), "ctwarden audit verify --log "+ui.Quote(path))
}

// readIncident reads one incident whole; "last" is the newest. A log can be long, so it
// is read for the outlines of all, and then again for the part that matters.
func readIncident(ctx context.Context, path, id string) (incident.Incident, error) {
	all := incident.Grouper{Depth: incident.Outline, Keep: 1, AlwaysKeep: id}
	if err := readIncidents(ctx, path, audit.Filter{}, &all); err != nil {
		return incident.Incident{}, err
	}
	found, known := all.Find(id)
	if id == "last" {
		for found = range all.Newest() {
			known = true
			break
		}
	}
	switch {
	case !known && id == "last":
		return found, hint(fmt.Errorf("no incident in %s: the table has not been near its limit since the log began", path), "ctwarden status")
	case !known:
		return found, hint(fmt.Errorf("no incident %q in %s", id, path), sameLog("ctwarden incident list", path))
	}
	part := audit.Filter{After: found.Seq - 1}
	if found.Status != incident.Open {
		part.Last = found.LastSeq
	}
	one := found.Whole()
	if err := readIncidents(ctx, path, part, one); err != nil {
		return found, err
	}
	whole, ok := one.Find(found.ID)
	if !ok {
		return found, fmt.Errorf("read incident %s: the log changed while it was read", found.ID)
	}
	// These depend on the rest of the log.
	whole.Changed, whole.Status, whole.Partial = found.Changed, found.Status, found.Partial
	return whole, nil
}

func newIncidentList() *cobra.Command {
	var path string
	var most int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list the incidents, newest first",
		Example: `  ctwarden incident list
  ctwarden incident list -n 0 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if most < 0 {
				return usageError{fmt.Errorf("-n %d: expected a number from 0", most), cmd.CommandPath()}
			}
			path, err := logPath(cmd, path)
			if err != nil {
				return err
			}
			g := incident.Grouper{Depth: incident.Summary, Keep: most}
			if err := readIncidents(cmd.Context(), path, audit.Filter{}, &g); err != nil {
				return err
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			if asJSON {
				err = report.WriteJSONArray(out, g.Newest())
			} else {
				err = printIncidents(out, &g, path)
			}
			return errors.Join(err, out.Flush())
		},
	}
	logFlag(cmd, &path)
	cmd.Flags().IntVarP(&most, "lines", "n", 50, "print at most this many of the newest; 0 is all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func printIncidents(out io.Writer, g *incident.Grouper, path string) error {
	if g.Len() == 0 {
		_, err := fmt.Fprintln(out, "no incidents: the table has not been near its limit since the log began")
		return err
	}
	w := ui.NewTable(out)
	fmt.Fprintln(w, "INCIDENT\tBEGAN\tLASTED\tFULLNESS\tPEAK\tLOST\tEVICTED\tCAUSE\tACTS\tEND")
	for i := range g.Newest() {
		acts := strconv.Itoa(i.Counts.Done - i.Counts.Restored)
		if i.Counts.Would > 0 {
			acts += fmt.Sprintf(" (+%d would)", i.Counts.Would)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", audit.Sanitise(i.ID), ui.Time(i.Start),
			i.Duration.Round(time.Second), report.Spark(i.Curve, 12), policy.Percent(i.Peak.Fullness()),
			i.Losses.Packets, i.Losses.Evicted, i.Cause, acts, i.Status)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if older := g.Dropped(); older > 0 {
		_, err := fmt.Fprintf(out, "and %d older: %s\n", older, sameLog("ctwarden incident list -n 0", path))
		return err
	}
	return nil
}

func newIncidentShow() *cobra.Command {
	var path string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID|last",
		Short: "show one incident in a few lines",
		Example: `  ctwarden incident show last
  ctwarden incident list`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := logPath(cmd, path)
			if err != nil {
				return err
			}
			found, err := readIncident(cmd.Context(), path, args[0])
			if err != nil {
				return err
			}
			r := report.New(found, time.Now())
			if asJSON {
				return r.WriteJSON(cmd.OutOrStdout())
			}
			more := sameLog("ctwarden incident report "+ui.Quote(found.ID), path)
			return r.WriteShort(cmd.OutOrStdout(), textOptions(cmd.OutOrStdout()), more)
		},
	}
	logFlag(cmd, &path)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func newIncidentReport() *cobra.Command {
	var path, out string
	var asJSON, force bool
	cmd := &cobra.Command{
		Use:   "report ID|last",
		Short: "print the whole report of one incident",
		Long: `Report prints all that the audit log has about one incident: what happened, what
was lost and what would have been lost without ctwarden, each decision with its
reason and its verdict, what it cost, how to undo it, and the permanent fix.

With -o the extension of the file selects the format: .html is one self-contained
page, .md is for a post-mortem, .json for programs, .txt is the text of a terminal.`,
		Example: "  ctwarden incident report last -o report.html",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			write, err := reportWriter(out, asJSON, textOptions(cmd.OutOrStdout()))
			if err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			path, err := logPath(cmd, path)
			if err != nil {
				return err
			}
			found, err := readIncident(cmd.Context(), path, args[0])
			if err != nil {
				return err
			}
			r := report.New(found, time.Now())
			if out == "" {
				return write(r, cmd.OutOrStdout())
			}
			var text bytes.Buffer
			if err := write(r, &text); err != nil {
				return err
			}
			return writeFile(out, text.Bytes(), force)
		},
	}
	logFlag(cmd, &path)
	f := cmd.Flags()
	f.StringVarP(&out, "output", "o", "", "write to a `file`: .html, .md, .json or .txt")
	f.BoolVar(&asJSON, "json", false, "print as JSON")
	f.BoolVar(&force, "force", false, "overwrite the file")
	return cmd
}

// reportWriter returns the function that writes a report to a file of that name, or to
// a terminal.
func reportWriter(name string, asJSON bool, p report.TextOptions) (func(*report.Report, io.Writer) error, error) {
	text := func(p report.TextOptions) func(*report.Report, io.Writer) error {
		return func(r *report.Report, w io.Writer) error { return r.WriteText(w, p) }
	}
	switch ext := filepath.Ext(name); {
	case asJSON && (name == "" || ext == ".json"), ext == ".json":
		return (*report.Report).WriteJSON, nil
	case asJSON:
		return nil, fmt.Errorf("--json with -o %s: the extension means another format", name)
	case name == "":
		return text(p), nil
	case ext == ".html" || ext == ".htm":
		return (*report.Report).WriteHTML, nil
	case ext == ".md":
		return (*report.Report).WriteMarkdown, nil
	case ext == ".txt":
		return text(report.TextOptions{Width: 100}), nil
	}
	return nil, fmt.Errorf("-o %s: expected a name that ends in .html, .md, .json or .txt", name)
}

// writeFile writes a new file; an existing one only with force.
func writeFile(name string, text []byte, force bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	file, err := os.OpenFile(name, flags, 0o644) //nolint:gosec // a report is for others to read
	if errors.Is(err, fs.ErrExist) {
		return hint(fmt.Errorf("write %s: it exists already", name), "mv "+ui.Quote(name, name+".old")+"   # or --force")
	}
	if err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	_, err = file.Write(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	return nil
}

// textOptions returns the options of a writer: a file, or a terminal with its width,
// and with colours unless NO_COLOR is set (https://no-color.org).
func textOptions(w io.Writer) report.TextOptions {
	p := report.TextOptions{Width: 100}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		p.Width = n
	}
	if t := ui.TerminalOf(w, os.Getenv); t.Columns > 0 {
		p.Width, p.Color = min(t.Columns, 120), t.Color
	}
	return p
}
