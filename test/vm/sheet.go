package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"text/tabwriter"
	"time"

	"github.com/ctwarden/ctwarden/test/tally"
)

// A sheet is the final table: a column for each kernel, a row for each job.
type sheet struct{ columns []column }

// A column is what happened on one kernel. err is why its machine did not come to its end.
type column struct {
	kernel, release string
	results         []result
	err             error
	took            time.Duration
}

// A cell is one job on one kernel.
type cell struct {
	tally tally.Tally
	ok    bool
	text  string
}

// cell judges a job: a test binary by its events and its status, any other program by its status alone.
func (c column) cell(j job) cell {
	if j.unbuilt {
		return lost("FAIL, not built")
	}
	for _, r := range c.results {
		if r.job != j.Name {
			continue
		}
		var t tally.Tally
		if j.Events {
			if err := count(&t, r); err != nil {
				return lost(fmt.Sprintf("FAIL: %v", err))
			}
		}
		switch {
		case !r.ended:
			t.Failed = max(1, t.Failed)
			return cell{t, false, "FAIL, did not end"}
		case r.status != 0:
			t.Failed = max(1, t.Failed)
			return cell{t, false, fmt.Sprintf("FAIL %d, exit %d", t.Failed, r.status)}
		case !j.Events:
			t.Passed = 1
			return cell{t, true, "ok"}
		case t.Failed > 0 || t.Passed+t.Skipped == 0 && !j.narrowed:
			t.Failed = max(1, t.Failed)
			return cell{t, false, fmt.Sprintf("FAIL %d", t.Failed)}
		case t.Skipped > 0:
			return cell{t, true, fmt.Sprintf("ok %d, skipped %d", t.Passed, t.Skipped)}
		}
		return cell{t, true, fmt.Sprintf("ok %d", t.Passed)}
	}
	return lost("FAIL, not run")
}

// lost is a cell without results. Not to know is a failure.
func lost(text string) cell {
	return cell{tally.Tally{Failed: 1, Failures: []string{text}}, false, text}
}

// count turns a test binary's output into events with the go command's own tool, and counts them.
func count(t *tally.Tally, r result) error {
	cmd := exec.CommandContext(context.Background(), "go", "tool", "test2json", "-p", r.job)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(r.output), os.Stderr
	events, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("test2json: %w", err)
	}
	return t.Read(bytes.NewReader(events), io.Discard)
}

// total is the count of all cells.
func (s sheet) total(jobs []job) (t tally.Tally, ok bool) {
	ok = len(s.columns) > 0
	for _, c := range s.columns {
		for _, j := range jobs {
			cell := c.cell(j)
			t.Add(cell.tally)
			ok = ok && cell.ok
		}
		ok = ok && c.err == nil
		if c.err != nil && t.Failed == 0 {
			t.Failed = 1
		}
	}
	return t, ok
}

func (s sheet) print(w io.Writer, jobs []job) (err error) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "\n")
	for _, c := range s.columns {
		fmt.Fprintf(table, "\t%s", c.kernel)
	}
	fmt.Fprint(table, "\n")
	for _, c := range s.columns {
		fmt.Fprintf(table, "\t%s", c.release)
	}
	fmt.Fprint(table, "\n")
	for _, j := range jobs {
		fmt.Fprint(table, j.Name)
		for _, c := range s.columns {
			fmt.Fprintf(table, "\t%s", c.cell(j).text)
		}
		fmt.Fprint(table, "\n")
	}
	fmt.Fprint(table, "machine")
	for _, c := range s.columns {
		verdict := "ok"
		if c.err != nil {
			verdict = "FAIL"
		}
		fmt.Fprintf(table, "\t%s in %s", verdict, c.took.Round(time.Second))
	}
	fmt.Fprint(table, "\n\n")
	err = table.Flush()
	for _, c := range s.columns {
		for _, j := range jobs {
			cell := c.cell(j)
			if len(cell.tally.Reasons)+len(cell.tally.Failures) > 0 {
				fmt.Fprintf(w, "%s on %s:\n", j.Name, c.kernel)
				err = errors.Join(err, cell.tally.Explain(w))
			}
		}
	}
	return err
}
