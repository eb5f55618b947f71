package ui

import (
	"fmt"
	"html"
	"strings"
)

// A Picture is a chart that needs no page around it: with a title, with
// paragraphs of one line above and below, and with its own colours.
type Picture struct {
	Title string
	Head  []string
	Chart Chart
	Foot  []string
}

// The layout of a picture, in pixels.
const (
	pictureLine   = 18.0 // from one line of text to the next
	pictureLegend = 34.0
)

// pictureStyle has the light colours of a report's page. They stand as they
// are: few programs that show an SVG know the variables of CSS.
const pictureStyle = `text{font-family:system-ui,sans-serif;font-size:13px;fill:#57606a}.title{font-size:17px;font-weight:600;fill:#1c2128}` +
	`.grid{stroke:#d8dee4}.area{fill:#0b63c5;opacity:.13}.entries{fill:none;stroke:#0b63c5;stroke-width:2;stroke-linejoin:round}` +
	`.max{fill:none;stroke:#b3261e;stroke-width:1.6;stroke-dasharray:6 3}` +
	`.max-label{fill:#b3261e;stroke:#fff;stroke-width:4;stroke-linejoin:round;paint-order:stroke}.band{opacity:.2}` +
	`.calm{fill:#cfe8d5}.elevated{fill:#f5d565}.high{fill:#f0973b}.exhausted{fill:#d64534}.lost{fill:#b3261e}` +
	`.act line{stroke:#5b3da8;stroke-dasharray:2 3}.mark rect{fill:#5b3da8}.mark text{fill:#fff;font-size:11px;font-weight:600}`

// SVG draws the picture as a file.
func (p *Picture) SVG() string {
	c := &p.Chart
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	top := 30 + pictureLine*float64(len(p.Head)) + 4
	legend := top
	if len(c.Points) > 1 {
		legend += c.Height
	}
	height := legend + pictureLegend + pictureLine*float64(len(p.Foot)) + 12
	left := num(4.6 * c.Font)
	put(`<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="0 0 %[1]s %[2]s" role="img" aria-labelledby="title">`, num(c.Width), num(height))
	put("<style>%s</style>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>", pictureStyle)
	put(`<title id="title">%s</title>`, html.EscapeString(p.Title))
	put(`<text class="title" x="%s" y="26">%s</text>`, left, html.EscapeString(p.Title))
	for n, line := range p.Head {
		put(`<text x="%s" y="%s">%s</text>`, left, num(30+pictureLine*float64(n+1)), html.EscapeString(line))
	}
	if len(c.Points) > 1 {
		b.WriteString(c.SVG(fmt.Sprintf(` y="%s" width="%s" height="%s"`, num(top), num(c.Width), num(c.Height))))
	}
	b.WriteString(c.legend(legend + 20))
	for n, line := range p.Foot {
		put(`<text x="%s" y="%s">%s</text>`, left, num(legend+pictureLegend+pictureLine*float64(n+1)), html.EscapeString(line))
	}
	put("</svg>")
	return b.String()
}

// legend explains the colours in one line, whose middle is at y.
func (d *Chart) legend(y float64) string {
	var b strings.Builder
	x := 4.6 * d.Font
	for _, l := range d.Levels {
		fmt.Fprintf(&b, `<rect class="%s" x="%s" y="%s" width="11" height="11"/><text x="%s" y="%s">%[1]s</text>`+"\n",
			l.Name, num(x), num(y-6), num(x+17), num(y+4))
		x += 100
	}
	for _, line := range [...][2]string{{"entries", "entries"}, {"max", "limit"}} {
		fmt.Fprintf(&b, `<line class="%s" x1="%s" x2="%s" y1="%s" y2="%[4]s"/><text x="%[5]s" y="%[6]s">%[7]s</text>`+"\n",
			line[0], num(x), num(x+24), num(y), num(x+31), num(y+4), line[1])
		x += 100
	}
	return b.String()
}
