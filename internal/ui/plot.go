package ui

import (
	"strings"
	"time"

	"github.com/guptarohit/asciigraph"
)

// A Point is a reading of a table.
type Point struct {
	// At is when, since the first point or any other origin.
	At           time.Duration
	Entries, Max uint64
	// Level counts those of a Chart from 0.
	Level int
	// Lost counts the packets lost up to then.
	Lost uint64
}

// Columns takes the fullest point for each of width columns of time (2 at the
// least, 400 at the most); a column without a point repeats the one before.
// Points must not be empty.
func Columns(points []Point, width int) (entries, limit []float64) {
	width = max(min(width, 400), 2)
	entries, limit = make([]float64, width), make([]float64, width)
	filled := make([]bool, width)
	start, end := points[0].At, points[len(points)-1].At
	for n := range points {
		p := &points[n]
		c := 0
		if end > start {
			c = int(float64(p.At-start) / float64(end-start) * float64(width-1))
		}
		entries[c] = max(entries[c], float64(p.Entries))
		limit[c] = max(limit[c], float64(p.Max))
		filled[c] = true
	}
	for c := 1; c < width; c++ {
		if !filled[c] {
			entries[c], limit[c] = entries[c-1], limit[c-1]
		}
	}
	return entries, limit
}

// PlotMargin is how many columns the numbers at the left of a Plot take.
const PlotMargin = 12

// Plot draws entries and limit in lines of characters, one column for each
// value, rows+1 high. A caption of "" is none.
func Plot(entries, limit []float64, rows int, color bool, caption string) string {
	o := []asciigraph.Option{asciigraph.Height(rows), asciigraph.Precision(0), asciigraph.LowerBound(0)}
	if color {
		o = append(o, asciigraph.SeriesColors(asciigraph.Red, asciigraph.Blue))
	}
	if caption != "" {
		o = append(o, asciigraph.Caption(caption))
	}
	return asciigraph.PlotMany([][]float64{limit, entries}, o...)
}

// Spark draws the fullness over time in width characters; "" for fewer than 2.
func Spark(points []Point, width int) string {
	if len(points) == 0 || width < 2 {
		return ""
	}
	entries, limit := Columns(points, width)
	var b strings.Builder
	for c := range entries {
		share := 0.0
		if limit[c] > 0 {
			share = min(entries[c]/limit[c], 1)
		}
		b.WriteRune([]rune("▁▂▃▄▅▆▇█")[int(share*7.999)])
	}
	return b.String()
}
