package ui

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Chart is a table's entries and limit over time, with the levels and the
// actions. Its SVG has no colours: the page around it sets those of its classes.
type Chart struct {
	// ID is a class of the SVG, and begins the names of its labels.
	ID string
	// Width and Height are in the units of the SVG, as is Font, the size of
	// the letters.
	Width, Height, Font float64
	// Title and Desc are for screen readers.
	Title, Desc string
	// Points are in the order of time; there must be two at different times.
	Points []Point
	// Start is when At is 0; zero for a chart without a clock.
	Start time.Time
	// Steps are the moments at which the limit became Max, where they are
	// known better than by Points.
	Steps []Step
	// Levels are from the lowest to the highest.
	Levels []Level
	// Marks are in the order of time.
	Marks []Mark
}

// A Step is a change of the limit.
type Step struct {
	At  time.Duration
	Max uint64
}

// A Level has its colour on the strip below the curve and, where To is not 0, on
// a band between two shares of the limit.
type Level struct {
	Name     string // and class
	From, To conntrack.Permyriad
}

// A Mark is a numbered moment.
type Mark struct {
	At     time.Duration
	Number int
	Text   string
	// Hollow marks an action that was not done.
	Hollow bool
}

// A canvas is a chart while it is drawn. Its coordinates are those of the SVG.
type canvas struct {
	*Chart
	b      strings.Builder
	left   float64 // room for the numbers of the vertical axis
	top    float64 // room for the marks
	bottom float64 // room for the level strip and the clock
	points []Point
	most   float64 // entries at the top
}

// rightMargin is the room at the right.
const rightMargin = 14

// SVG draws the chart as one svg element. The attributes are added to it.
func (d *Chart) SVG(attributes string) string {
	c := &canvas{
		Chart: d, left: 4.6 * d.Font, top: 3.3 * d.Font, bottom: 4.2 * d.Font,
		points: lean(d.Points, int(d.Width/1.5)),
	}
	for n := range c.points {
		c.most = max(c.most, float64(c.points[n].Entries), float64(c.points[n].Max))
	}
	c.most = max(c.most*1.04, 1)
	c.put(`<svg class="curve %s" viewBox="0 0 %s %s" font-size="%s" role="img" aria-labelledby="%[1]s-t %[1]s-d" xmlns="http://www.w3.org/2000/svg"%[5]s>`,
		c.ID, num(c.Width), num(c.Height), num(c.Font), attributes)
	c.put(`<title id="%s-t">%s</title>`, c.ID, html.EscapeString(c.Title))
	c.put(`<desc id="%s-d">%s</desc>`, c.ID, html.EscapeString(c.Desc))
	c.bands()
	c.grid()
	c.area()
	c.limit()
	c.losses()
	c.strip()
	c.marks()
	c.name()
	c.put(`</svg>`)
	return c.b.String()
}

// lean keeps the fullest of adjacent points, so that there are at most n.
func lean(points []Point, n int) []Point {
	for len(points) > n {
		kept := make([]Point, 0, len(points)/2+2)
		kept = append(kept, points[0])
		for k := 1; k+1 < len(points)-1; k += 2 {
			p, next := points[k], &points[k+1]
			if next.Entries > p.Entries {
				p = *next
			}
			p.Lost, p.Level = next.Lost, max(points[k].Level, next.Level)
			kept = append(kept, p)
		}
		points = append(kept, points[len(points)-1])
	}
	return points
}

func (c *canvas) put(format string, args ...any) { fmt.Fprintf(&c.b, format+"\n", args...) }

func (c *canvas) span() (from, to time.Duration) {
	return c.Points[0].At, c.Points[len(c.Points)-1].At
}

func (c *canvas) x(at time.Duration) float64 {
	from, to := c.span()
	share := float64(at-from) / float64(to-from)
	return c.left + min(max(share, 0), 1)*(c.Width-c.left-rightMargin)
}

func (c *canvas) y(entries float64) float64 {
	return c.top + (1-min(entries/c.most, 1))*(c.Height-c.top-c.bottom)
}

func (c *canvas) bands() {
	for _, band := range c.Levels {
		if band.To == 0 {
			continue
		}
		var up, down []string
		c.steps(func(x float64, most uint64) {
			up = append(up, num(x)+","+num(c.y(float64(band.To.Of(most)))))
			down = append(down, num(x)+","+num(c.y(float64(band.From.Of(most)))))
		})
		slices.Reverse(down)
		c.put(`<polygon class="band %s" points="%s %s"/>`, band.Name, strings.Join(up, " "), strings.Join(down, " "))
	}
}

// steps calls each with the corners of the limit's line.
func (c *canvas) steps(each func(x float64, most uint64)) {
	last := c.points[0].Max
	each(c.x(c.points[0].At), last)
	for n := 1; n < len(c.points); n++ {
		if p := &c.points[n]; p.Max != last {
			x := c.x(c.changed(c.points[n-1].At, p))
			each(x, last)
			each(x, p.Max)
			last = p.Max
		}
	}
	each(c.x(c.points[len(c.points)-1].At), last)
}

// changed is when the limit became that of p: that of a step, if there was one
// since the point before.
func (c *canvas) changed(before time.Duration, p *Point) time.Duration {
	for _, s := range c.Steps {
		if s.Max == p.Max && s.At >= before && s.At <= p.At {
			return s.At
		}
	}
	return p.At
}

func (c *canvas) grid() {
	step := tickStep(c.most / 4)
	for v := 0.0; v <= c.most; v += step {
		y := c.y(v)
		c.put(`<line class="grid" x1="%s" x2="%s" y1="%s" y2="%s"/>`, num(c.left), num(c.Width-rightMargin), num(y), num(y))
		c.put(`<text class="axis" x="%s" y="%s" text-anchor="end">%s</text>`, num(c.left-6), num(y+c.Font/3), tickNumber(v))
	}
	from, to := c.span()
	every := tickInterval(to-from, int(c.Width/c.Font/8))
	first, label := from.Truncate(every)+every, tickOffset
	if !c.Start.IsZero() {
		begin := c.Start.Add(from)
		first = from + begin.Truncate(every).Add(every).Sub(begin)
		label = func(at time.Duration) string { return tickTime(c.Start.Add(at), every) }
	}
	for at := first; at < to; at += every {
		x := c.x(at)
		if x < c.left+2*c.Font || x > c.Width-rightMargin-2*c.Font {
			continue
		}
		c.put(`<line class="grid" x1="%s" x2="%[1]s" y1="%s" y2="%s"/>`, num(x), num(c.Height-c.bottom), num(c.Height-c.bottom+4))
		c.put(`<text class="axis" x="%s" y="%s" text-anchor="middle">%s</text>`, num(x), num(c.Height-c.Font*0.6), label(at))
	}
}

func (c *canvas) area() {
	corners := make([]string, len(c.points))
	for n := range c.points {
		corners[n] = num(c.x(c.points[n].At)) + "," + num(c.y(float64(c.points[n].Entries)))
	}
	line := strings.Join(corners, " ")
	floor := num(c.y(0))
	c.put(`<polygon class="area" points="%s,%s %s %s,%s"/>`, num(c.x(c.points[0].At)), floor, line, num(c.x(c.points[len(c.points)-1].At)), floor)
	c.put(`<polyline class="entries" points="%s"/>`, line)
}

func (c *canvas) limit() {
	var corners []string
	c.steps(func(x float64, most uint64) { corners = append(corners, num(x)+","+num(c.y(float64(most)))) })
	c.put(`<polyline class="max" points="%s"/>`, strings.Join(corners, " "))
}

// name writes the limit above its line. It comes last, with an edge in the
// colour of the page: the line of a mark may pass behind it.
func (c *canvas) name() {
	last := c.Points[len(c.Points)-1].Max
	c.put(`<text class="max-label" x="%s" y="%s" text-anchor="end">limit %s</text>`,
		num(c.Width-rightMargin), num(c.y(float64(last))-c.Font*0.4), Number(last))
}

// losses mark the time in which packets were lost.
func (c *canvas) losses() {
	for n := 1; n < len(c.points); n++ {
		a, b := &c.points[n-1], &c.points[n]
		if b.Lost <= a.Lost {
			continue
		}
		lost := Number(b.Lost-a.Lost) + " packets were"
		if b.Lost-a.Lost == 1 {
			lost = "1 packet was"
		}
		c.put(`<rect class="lost" x="%s" width="%s" y="%s" height="5"><title>%s lost</title></rect>`,
			num(c.x(a.At)), num(max(c.x(b.At)-c.x(a.At), 2)), num(c.Height-c.bottom-5), lost)
	}
}

// strip shows the level over time.
func (c *canvas) strip() {
	y := c.Height - c.bottom + c.Font*0.7
	for n := 0; n+1 < len(c.points); {
		from, level := n, c.points[n].Level
		for n+1 < len(c.points) && c.points[n].Level == level {
			n++
		}
		x := c.x(c.points[from].At)
		c.put(`<rect class="strip %s" x="%s" width="%s" y="%s" height="%s"><title>level %[1]s</title></rect>`,
			c.Levels[level].Name, num(x), num(max(c.x(c.points[n].At)-x, 1)), num(y), num(c.Font*0.7))
	}
}

// num prints a coordinate: one decimal is a tenth of a pixel.
func num(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "0"
	}
	return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64)
}
