package report

import (
	"fmt"
	"html"

	"github.com/ctwarden/ctwarden/internal/incident"
)

// A mark is the number of an act above the curve, or of several that are too
// near to each other to be told apart there.
type mark struct {
	from, to    int // numbers of the table of decisions
	left, right float64
	would       bool // all were only told
}

// acts draw a line for each plan that acted, and number them.
func (c *canvas) acts() {
	var all []mark
	done := map[int]bool{}
	numbers := marks(c.i)
	for n := range c.i.Decisions {
		d := &c.i.Decisions[n]
		nr := numbers[d.Seq]
		if d.Kind != incident.Acted || d.Action == nil || done[nr] {
			continue
		}
		done[nr] = true
		x, class := c.x(c.at(d)), "act"
		if d.Action.Would {
			class = "act would"
		}
		c.put(`<g class="%s"><title>%d: %s</title><line x1="%s" x2="%[4]s" y1="%s" y2="%s"/></g>`,
			class, nr, html.EscapeString(clean(deed(d))), num(x), num(c.top), num(c.h-c.bottom))
		all = append(all, mark{from: nr, to: nr, left: x, right: x, would: d.Action.Would})
	}
	for _, m := range c.apart(all) {
		c.number(&m)
	}
}

// apart joins the marks that would stand on one another: two neighbours at a
// time, for the joint one is wider and may touch a third.
func (c *canvas) apart(all []mark) []mark {
	for n := 0; n+1 < len(all); {
		a, b := &all[n], &all[n+1]
		_, end := c.extent(a)
		if begin, _ := c.extent(b); begin-end >= c.font*0.2 {
			n++
			continue
		}
		a.to, a.would = b.to, a.would && b.would
		a.left, a.right = min(a.left, b.left), max(a.right, b.right)
		all = append(all[:n+1], all[n+2:]...)
		n = max(n-1, 0)
	}
	return all
}

// extent is where a mark begins and ends: in the middle of its acts, and
// within the drawing.
func (c *canvas) extent(m *mark) (from, to float64) {
	width := c.font * (0.62*float64(len([]rune(m.text()))) + 0.82)
	from = min(max((m.left+m.right-width)/2, 0), c.w-width)
	return from, from + width
}

// text is the number, or the first and the last of several.
func (m *mark) text() string {
	if m.from == m.to {
		return fmt.Sprint(m.from)
	}
	return fmt.Sprintf("%d–%d", m.from, m.to)
}

func (c *canvas) number(m *mark) {
	class := "mark"
	if m.would {
		class = "mark would"
	}
	from, to := c.extent(m)
	height := 1.44 * c.font
	y := c.top - 2.3*c.font
	c.put(`<g class="%s"><rect x="%s" y="%s" width="%s" height="%s" rx="%s"/>`, class, num(from), num(y), num(to-from), num(height), num(height/2))
	c.put(`<text x="%s" y="%s" text-anchor="middle" font-size="%s">%s</text></g>`, num((from+to)/2), num(y+height*0.71), num(c.font*0.85), m.text())
}
