package report

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
)

// A canvas is a drawing of the curve in one size. Its coordinates are those of
// the SVG.
type canvas struct {
	b      strings.Builder
	id     string
	w, h   float64
	left   float64 // room for the numbers of the vertical axis
	top    float64 // room for the marks of the acts
	bottom float64 // room for the level strip and the clock
	font   float64

	i      *incident.Incident
	points []incident.Point
	most   float64 // entries at the top
	labels int     // of the time axis
}

const right = 14

// svg draws the curve: entries, limit, the bands of the levels below the
// limit, the numbered acts, and when packets were lost.
func svg(i *incident.Incident, id string, w, h, font float64) string {
	if len(i.Curve) < 2 || i.Last.At <= i.First.At {
		return ""
	}
	c := &canvas{
		id: id, w: w, h: h, font: font, left: 4.6 * font, top: 3.3 * font, bottom: 4.2 * font, i: i,
		points: lean(i.Curve, int(w/1.5)), labels: int(w / font / 8),
	}
	for n := range c.points {
		c.most = max(c.most, float64(c.points[n].Entries), float64(c.points[n].Max))
	}
	c.most = max(c.most*1.04, 1)
	c.begin()
	c.bands()
	c.grid()
	c.area()
	c.limit()
	c.losses()
	c.strip()
	c.acts()
	c.name()
	c.put(`</svg>`)
	return c.b.String()
}

// lean keeps the fullest of neighbouring points, so that there are at most n.
func lean(points []incident.Point, n int) []incident.Point {
	for len(points) > n {
		kept := make([]incident.Point, 0, len(points)/2+2)
		kept = append(kept, points[0])
		for k := 1; k+1 < len(points)-1; k += 2 {
			p := points[k]
			if next := points[k+1]; next.Entries > p.Entries {
				p = next
			}
			p.Lost, p.Level = points[k+1].Lost, max(points[k].Level, points[k+1].Level)
			kept = append(kept, p)
		}
		points = append(kept, points[len(points)-1])
	}
	return points
}

func (c *canvas) put(format string, args ...any) { fmt.Fprintf(&c.b, format+"\n", args...) }

func (c *canvas) x(at policy.Moment) float64 {
	share := float64(at-c.i.First.At) / float64(c.i.Last.At-c.i.First.At)
	return c.left + min(max(share, 0), 1)*(c.w-c.left-right)
}

func (c *canvas) y(entries float64) float64 {
	return c.top + (1-min(entries/c.most, 1))*(c.h-c.top-c.bottom)
}

func (c *canvas) begin() {
	i := c.i
	c.put(`<svg class="curve %s" viewBox="0 0 %s %s" font-size="%s" role="img" aria-labelledby="%[1]s-t %[1]s-d" xmlns="http://www.w3.org/2000/svg">`,
		c.id, num(c.w), num(c.h), num(c.font))
	c.put(`<title id="%s-t">Entries in the connection tracking table, and its limit, over time</title>`, c.id)
	c.put(`<desc id="%s-d">%s</desc>`, c.id, html.EscapeString(fmt.Sprintf(
		"From %s to %s UTC. Entries began at %s, reached %s of a limit of %s, and ended at %s of %s. The numbered marks are the acts in the table of decisions.",
		clock(i.First.Time), clock(i.Last.Time), ui.Number(i.First.Entries), ui.Number(i.Peak.Entries), ui.Number(i.Peak.Max), ui.Number(i.Last.Entries), ui.Number(i.Last.Max))))
}

// bands paint where the levels begin, as shares of the limit.
func (c *canvas) bands() {
	for _, band := range [...]struct {
		class    string
		from, to conntrack.Permyriad
	}{{"elevated", 7500, 8500}, {"high", 8500, 9500}, {"exhausted", 9500, 10000}} {
		var up, down []string
		c.steps(func(x float64, most uint64) {
			up = append(up, num(x)+","+num(c.y(float64(band.to.Of(most)))))
			down = append(down, num(x)+","+num(c.y(float64(band.from.Of(most)))))
		})
		for a, b := 0, len(down)-1; a < b; a, b = a+1, b-1 {
			down[a], down[b] = down[b], down[a]
		}
		c.put(`<polygon class="band %s" points="%s %s"/>`, band.class, strings.Join(up, " "), strings.Join(down, " "))
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

// changed is when the limit became that of p: when an act set it, if one did
// since the point before, for a reading comes only once a second.
func (c *canvas) changed(before policy.Moment, p *incident.Point) policy.Moment {
	for n := range c.i.Decisions {
		d := &c.i.Decisions[n]
		if d.Outcome != nil && d.Action.Type == policy.RaiseMax && d.Outcome.After == p.Max && d.At >= before && d.At <= p.At {
			return d.At
		}
	}
	return p.At
}

func (c *canvas) grid() {
	step := nice(c.most / 4)
	for v := 0.0; v <= c.most; v += step {
		y := c.y(v)
		c.put(`<line class="grid" x1="%s" x2="%s" y1="%s" y2="%s"/>`, num(c.left), num(c.w-right), num(y), num(y))
		c.put(`<text class="axis" x="%s" y="%s" text-anchor="end">%s</text>`, num(c.left-6), num(y+c.font/3), short(v))
	}
	length := time.Duration(c.i.Last.At - c.i.First.At)
	every := niceSpan(length, c.labels)
	for at := c.i.First.Time.Truncate(every).Add(every); at.Before(c.i.Last.Time); at = at.Add(every) {
		x := c.x(c.i.First.At.Add(at.Sub(c.i.First.Time)))
		if x < c.left+2*c.font || x > c.w-right-2*c.font {
			continue
		}
		c.put(`<line class="grid" x1="%s" x2="%[1]s" y1="%s" y2="%s"/>`, num(x), num(c.h-c.bottom), num(c.h-c.bottom+4))
		c.put(`<text class="axis" x="%s" y="%s" text-anchor="middle">%s</text>`, num(x), num(c.h-c.font*0.6), label(at, every))
	}
}

func label(at time.Time, every time.Duration) string {
	switch {
	case every >= 24*time.Hour:
		return at.UTC().Format("Jan 2")
	case every >= time.Minute:
		return at.UTC().Format("15:04")
	}
	return clock(at)
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
// colour of the paper: an act's line may pass behind it.
func (c *canvas) name() {
	c.put(`<text class="max-label" x="%s" y="%s" text-anchor="end">limit %s</text>`,
		num(c.w-right), num(c.y(float64(c.i.Last.Max))-c.font*0.4), ui.Number(c.i.Last.Max))
}

// losses mark the time in which packets were lost.
func (c *canvas) losses() {
	for n := 1; n < len(c.points); n++ {
		if a, b := &c.points[n-1], &c.points[n]; b.Lost > a.Lost {
			c.put(`<rect class="lost" x="%s" width="%s" y="%s" height="5"><title>%s lost</title></rect>`,
				num(c.x(a.At)), num(max(c.x(b.At)-c.x(a.At), 2)), num(c.h-c.bottom-5), packets(b.Lost-a.Lost))
		}
	}
}

// strip shows the level over time.
func (c *canvas) strip() {
	y := c.h - c.bottom + c.font*0.7
	for n := 0; n+1 < len(c.points); {
		from, level := n, c.points[n].Level
		for n+1 < len(c.points) && c.points[n].Level == level {
			n++
		}
		x := c.x(c.points[from].At)
		c.put(`<rect class="strip %s" x="%s" width="%s" y="%s" height="%s"><title>level %[1]s</title></rect>`,
			level, num(x), num(max(c.x(c.points[n].At)-x, 1)), num(y), num(c.font*0.7))
	}
}

// at is when a decision was made, by the curve's clock.
func (c *canvas) at(d *incident.Decision) policy.Moment {
	if d.At > 0 {
		return d.At
	}
	return c.i.First.At.Add(d.Time.Sub(c.i.First.Time))
}

// num prints a coordinate: one decimal is a tenth of a pixel.
func num(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "0"
	}
	return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64)
}

// nice rounds up to 1, 2 or 5 times a power of ten.
func nice(x float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(max(x, 1))))
	for _, m := range [...]float64{1, 2, 5} {
		if x <= m*unit {
			return m * unit
		}
	}
	return 10 * unit
}

func niceSpan(length time.Duration, labels int) time.Duration {
	for _, step := range [...]time.Duration{
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
		10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
	} {
		if length/step <= time.Duration(max(labels, 2)) {
			return step
		}
	}
	return max(length/time.Duration(max(labels, 2)), 48*time.Hour).Truncate(24 * time.Hour)
}

// short prints a number for an axis.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', -1, 64) + "M"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'f', -1, 64) + "k"
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}
