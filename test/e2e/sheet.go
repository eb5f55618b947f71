package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// A sheet is the table of all checks on all systems.
type sheet struct {
	columns []column
	// names are the checks in the order in which they were first told.
	names []string
}

type column struct {
	system string
	told   story
	err    error
	took   time.Duration
}

func (s *sheet) add(system string, told story, err error, took time.Duration) {
	s.columns = append(s.columns, column{system, told, err, took})
	for _, v := range told.verdicts {
		if !slices.Contains(s.names, v.name) {
			s.names = append(s.names, v.name)
		}
	}
}

// cell is what a column says of a check. One that is told twice is ok when both are.
func (c column) cell(name string) string {
	text := "-"
	for _, v := range c.told.verdicts {
		if v.name == name && !v.ok {
			return "FAIL"
		} else if v.name == name {
			text = "ok"
		}
	}
	return text
}

func (s *sheet) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table)
	for _, c := range s.columns {
		fmt.Fprintf(table, "\t%s", c.system)
	}
	fmt.Fprintln(table)
	for _, name := range s.names {
		fmt.Fprint(table, name)
		for _, c := range s.columns {
			fmt.Fprintf(table, "\t%s", c.cell(name))
		}
		fmt.Fprintln(table)
	}
	fmt.Fprint(table, "came to its end")
	for _, c := range s.columns {
		end := "yes"
		if c.err != nil {
			end = "NO"
		}
		fmt.Fprintf(table, "\t%s, %s", end, c.took.Round(time.Second))
	}
	fmt.Fprintln(table)
	if err := table.Flush(); err != nil {
		return err
	}
	for _, c := range s.columns {
		fmt.Fprintf(w, "\n%s: %s\n", c.system, c.told.ready)
		for _, n := range c.told.notes {
			fmt.Fprintf(w, "  %s\n", n)
		}
		if c.err != nil {
			fmt.Fprintf(w, "  error: %v\n", c.err)
		}
	}
	total, _ := s.total()
	_, err := fmt.Fprintf(w, "\n%s\n", total)
	return err
}

// total counts the checks. A machine that did not come to its end is a failure of its own.
func (s *sheet) total() (text string, ok bool) {
	passed, failed := 0, 0
	for _, c := range s.columns {
		for _, v := range c.told.verdicts {
			if v.ok {
				passed++
			} else {
				failed++
			}
		}
		if c.err != nil || len(c.told.verdicts) == 0 {
			failed++
		}
	}
	return fmt.Sprintf("%d passed, %d failed, 0 skipped", passed, failed), failed == 0 && passed > 0
}
