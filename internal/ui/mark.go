package ui

import (
	"fmt"
	"html"
)

// A label is the number of a mark above the curve, or of several marks that are
// too close to be drawn apart.
type label struct {
	from, to    int // numbers of marks
	left, right float64
	hollow      bool // all of them are
}

// marks draw a line for each mark, and number them.
func (c *canvas) marks() {
	var all []label
	for n := range c.Marks {
		m := &c.Marks[n]
		x, class := c.x(m.At), "act"
		if m.Hollow {
			class = "act would"
		}
		c.put(`<g class="%s"><title>%d: %s</title><line x1="%s" x2="%[4]s" y1="%s" y2="%s"/></g>`,
			class, m.Number, html.EscapeString(m.Text), num(x), num(c.top), num(c.Height-c.bottom))
		all = append(all, label{from: m.Number, to: m.Number, left: x, right: x, hollow: m.Hollow})
	}
	for _, l := range c.apart(all) {
		c.number(&l)
	}
}

// apart joins the labels that would stand on one another: two marks at a
// time, for the joint one is wider and may touch a third.
func (c *canvas) apart(all []label) []label {
	for n := 0; n+1 < len(all); {
		a, b := &all[n], &all[n+1]
		_, end := c.extent(a)
		if begin, _ := c.extent(b); begin-end >= c.Font*0.2 {
			n++
			continue
		}
		a.to, a.hollow = b.to, a.hollow && b.hollow
		a.left, a.right = min(a.left, b.left), max(a.right, b.right)
		all = append(all[:n+1], all[n+2:]...)
		n = max(n-1, 0)
	}
	return all
}

// extent is where a label begins and ends: in the middle of its marks, and
// within the drawing.
func (c *canvas) extent(l *label) (from, to float64) {
	width := c.Font * (0.62*float64(len([]rune(l.text()))) + 0.82)
	from = min(max((l.left+l.right-width)/2, 0), c.Width-width)
	return from, from + width
}

// text is the number, or the first and the last of several.
func (l *label) text() string {
	if l.from == l.to {
		return fmt.Sprint(l.from)
	}
	return fmt.Sprintf("%d–%d", l.from, l.to)
}

func (c *canvas) number(l *label) {
	class := "mark"
	if l.hollow {
		class = "mark would"
	}
	from, to := c.extent(l)
	height := 1.44 * c.Font
	y := c.top - 2.3*c.Font
	c.put(`<g class="%s"><rect x="%s" y="%s" width="%s" height="%s" rx="%s"/>`, class, num(from), num(y), num(to-from), num(height), num(height/2))
	c.put(`<text x="%s" y="%s" text-anchor="middle" font-size="%s">%s</text></g>`, num((from+to)/2), num(y+height*0.71), num(c.Font*0.85), l.text())
}
