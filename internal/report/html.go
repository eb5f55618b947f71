package report

import (
	_ "embed"
	"fmt"
	"html"
	"html/template"
	"io"
	"strings"

	"github.com/ctwarden/ctwarden/internal/ui"
)

//go:embed page.gohtml
var pageText string

// WriteHTML writes the report as one file that needs nothing else: no script,
// no font, no picture from elsewhere.
func (r *Report) WriteHTML(w io.Writer) error {
	page, err := template.New("report").Funcs(template.FuncMap{
		"clean": clean,
		"lines": lines,
		"named": columnLabel,
		"parts": parts,
		"right": func(t *table, column int) bool { return column < len(t.right) && t.right[column] },
	}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	sections := make([]pageSection, 0, 10)
	for _, s := range r.sections() {
		p := pageSection{Title: s.title}
		for n := range s.blocks {
			p.Blocks = append(p.Blocks, pageBlock{&s.blocks[n], r.Incident.Losses.Packets > 0})
		}
		sections = append(sections, p)
	}
	i := &r.Incident
	err = page.Execute(w, pageContent{
		Report: r, Sections: sections,
		Subtitle: fmt.Sprintf("Incident %s, %s, %s", clean(i.ID), dateTime(i.Start), ui.Duration(i.Duration)),
		Written:  dateTime(r.Written),
		Wide:     template.HTML(svg(i, "wide", 960, 400, 13)),   // #nosec G203 -- svg escapes what it draws
		Narrow:   template.HTML(svg(i, "narrow", 400, 340, 13)), // #nosec G203 -- likewise
	})
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

type pageContent struct {
	*Report
	Sections          []pageSection
	Subtitle, Written string
	Wide, Narrow      template.HTML
}

type pageSection struct {
	Title  string
	Blocks []pageBlock
}

// A pageBlock is a block as the page reads it.
type pageBlock struct {
	b    *block
	lost bool // packets were lost
}

func (p pageBlock) Losses() bool   { return p.lost }
func (p pageBlock) Para() string   { return p.b.para }
func (p pageBlock) List() []string { return p.b.list }
func (p pageBlock) Code() string   { return p.b.code }
func (p pageBlock) Note() string   { return p.b.note }
func (p pageBlock) Curve() bool    { return p.b.curve }
func (p pageBlock) About() string  { return p.b.about }
func (p pageBlock) Table() *table  { return p.b.table }
func (t *table) Caption() string   { return t.caption }
func (t *table) Head() []string    { return t.head }
func (t *table) Rows() [][]string  { return t.rows }
func (t *table) Headless() bool    { return strings.Join(t.head, "") == "" }
func (p pageBlock) IsFile() bool   { return strings.HasPrefix(p.b.about, "/etc/") }
func (p pageBlock) HasTable() bool { return p.b.table != nil }
func (p pageBlock) Wide() bool     { return p.b.table != nil && len(p.b.table.head) > 4 }

// columnLabel is the head of a column as it stands before a cell.
func columnLabel(head string) string {
	if strings.HasSuffix(head, "?") {
		return head + " "
	}
	return head + ": "
}

// parts lets a narrow cell break the long names of the kernel behind an
// underscore, and not anywhere.
func parts(text string) template.HTML {
	return template.HTML(strings.ReplaceAll(html.EscapeString(text), "_", "_<wbr>")) // #nosec G203 -- the text is escaped
}

// lines makes each line of a file or of commands harmless.
func lines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		b.WriteString(clean(strings.ReplaceAll(line, "\t", "    ")) + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}
