package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown writes the report as Markdown, to paste into a post-mortem.
func (r *Report) WriteMarkdown(w io.Writer) error {
	m := bufio.NewWriter(w)
	printf := func(format string, args ...any) { fmt.Fprintf(m, format, args...) }
	printf("# %s\n", escaped(r.Headline))
	for _, s := range r.sections() {
		printf("\n## %s\n", escaped(s.title))
		for n := range s.blocks {
			b := &s.blocks[n]
			printf("\n")
			switch {
			case b.curve:
				printf("%s", r.curveFence())
			case b.para != "":
				printf("%s\n", escaped(b.para))
			case b.table != nil:
				printf("%s", b.table.markdown())
			case b.code != "":
				if b.note != "" {
					printf("`%s`: %s\n\n", strings.ReplaceAll(clean(b.about), "`", "'"), escaped(b.note))
				}
				printf("%s", fence(b.code))
			case b.list != nil:
				for _, item := range b.list {
					printf("- %s\n", escaped(item))
				}
			case b.note != "":
				printf("*%s*\n", escaped(b.note))
			}
		}
	}
	if err := m.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// curveFence draws the curve as text.
func (r *Report) curveFence() string {
	var b strings.Builder
	t := &terminalWriter{w: bufio.NewWriter(&b), options: TextOptions{Width: 100}}
	t.curve(&r.Incident)
	_ = t.w.Flush() // a Builder takes everything
	return fence(b.String())
}

// fence puts text where Markdown leaves it alone: the fence is longer than any
// in it.
func fence(text string) string {
	marks := "```"
	for strings.Contains(text, marks) {
		marks += "`"
	}
	var b strings.Builder
	b.WriteString(marks + "\n")
	for line := range strings.Lines(text) {
		b.WriteString(clean(strings.ReplaceAll(strings.TrimRight(line, "\n"), "\t", "    ")) + "\n")
	}
	return b.String() + marks + "\n"
}

// escaped makes text mean itself in Markdown, in a line or in a cell.
func escaped(s string) string {
	var b strings.Builder
	for _, c := range clean(s) {
		switch c {
		case '\\', '`', '*', '_', '[', ']', '<', '>', '#', '|', '~', '!', '$', '{', '}':
			b.WriteByte('\\')
		case '&':
			b.WriteString("&amp;")
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

func (t *table) markdown() string {
	var b strings.Builder
	row := func(cells []string) {
		b.WriteByte('|')
		for _, cell := range cells {
			b.WriteString(" " + escaped(cell) + " |")
		}
		b.WriteByte('\n')
	}
	row(t.head)
	b.WriteByte('|')
	for c := range t.head {
		if c < len(t.right) && t.right[c] {
			b.WriteString(" ---: |")
		} else {
			b.WriteString(" --- |")
		}
	}
	b.WriteByte('\n')
	for _, cells := range t.rows {
		row(cells)
	}
	return b.String()
}
