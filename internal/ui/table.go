package ui

import (
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// columnGap is how many spaces stand between two columns.
const columnGap = 2

// NewTable returns a writer that aligns cells that end in a tab. It is to be
// flushed.
func NewTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, columnGap, ' ', 0) }

// Align returns rows of cells as lines with aligned columns, without spaces at
// their ends; right is true for the columns that are aligned to the right. It
// returns nil where a line would be wider than width columns.
func Align(rows [][]string, right []bool, width int) []string {
	var widths []int
	for _, row := range rows {
		for c, cell := range row {
			if c == len(widths) {
				widths = append(widths, 0)
			}
			widths[c] = max(widths[c], utf8.RuneCountInString(cell))
		}
	}
	total := -columnGap
	for _, w := range widths {
		total += w + columnGap
	}
	if total > width {
		return nil
	}
	lines := make([]string, len(rows))
	for n, row := range rows {
		var b strings.Builder
		for c, cell := range row {
			pad := strings.Repeat(" ", widths[c]-utf8.RuneCountInString(cell))
			if c < len(right) && right[c] {
				cell, pad = pad+cell, ""
			}
			b.WriteString(cell + pad + strings.Repeat(" ", columnGap))
		}
		lines[n] = strings.TrimRight(b.String(), " ")
	}
	return lines
}
