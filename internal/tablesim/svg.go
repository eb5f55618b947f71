package tablesim

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/policy"
)

// The picture, in pixels: the plot with room for its axes, then the strip of
// levels, then the list of acts.
const (
	svgWidth    = 960.0
	svgLeft     = 70.0
	svgRight    = 940.0
	svgTop      = 96.0
	svgBottom   = 380.0
	svgStrip    = 404.0
	svgList     = 464.0
	svgLine     = 17.0
	svgMostActs = 24
)

// WriteSVG writes the curve as a picture that needs nothing else: entries and
// max over time, the levels below them, and the numbered acts with what each
// did. It returns the first error of w.
func (r *Result) WriteSVG(w io.Writer) error {
	d := drawing{printer: printer{w: w}, r: r, span: time.Second, most: 1}
	for i := range r.Curve {
		d.most = max(d.most, float64(r.Curve[i].Entries), float64(r.Curve[i].Max))
		d.span = max(d.span, r.Curve[i].At)
	}
	d.most *= 1.05
	acts := r.acts()
	height := svgList + svgLine*float64(min(len(acts), svgMostActs+1)) + 10
	d.begin(height)
	d.grid()
	d.curves()
	d.levels()
	d.acts(acts)
	d.printf("</svg>\n")
	return d.err
}

// A deed is the actions of one plan.
type deed struct {
	at    time.Duration
	texts []string
}

// acts returns the plans that acted, each with what it did.
func (r *Result) acts() []deed {
	var acts []deed
	for i := range r.Timeline {
		line := &r.Timeline[i]
		if line.Kind != Acted {
			continue
		}
		if n := len(acts); n > 0 && acts[n-1].at == line.At {
			acts[n-1].texts = append(acts[n-1].texts, line.Text)
			continue
		}
		acts = append(acts, deed{line.At, []string{line.Text}})
	}
	return acts
}

// A drawing is a result on its way to a picture.
type drawing struct {
	printer
	r    *Result
	span time.Duration
	most float64 // entries at the top
}

func (d *drawing) x(at time.Duration) string {
	return pixel(svgLeft + (svgRight-svgLeft)*float64(at)/float64(d.span))
}

func (d *drawing) y(entries float64) string {
	return pixel(svgBottom - (svgBottom-svgTop)*entries/d.most)
}

func pixel(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

const svgStyle = `text{font:12px system-ui,sans-serif;fill:#333}.title{font-size:16px;font-weight:600}` +
	`.grid{stroke:#e3e3e3}.axis{fill:#666}.entries{fill:none;stroke:#1f6fb2;stroke-width:2}.area{fill:#1f6fb2;opacity:.15}` +
	`.max{fill:none;stroke:#b3261e;stroke-width:2;stroke-dasharray:7 3}.act line{stroke:#555;stroke-dasharray:2 3}` +
	`.act circle{fill:#333}.act text{fill:#fff;font-size:10px}.calm{fill:#b9dfb9}.elevated{fill:#f4dd7a}.high{fill:#f0a04b}.exhausted{fill:#c8362c}`

func (d *drawing) begin(height float64) {
	d.printf(`<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="0 0 %[1]s %[2]s" role="img" aria-labelledby="title desc">`+"\n",
		pixel(svgWidth), pixel(height))
	d.printf("<style>%s</style>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n", svgStyle)
	d.printf("<title id=\"title\">%s</title>\n", xmlText(d.r.Scenario))
	d.printf("<desc id=\"desc\">%s. %d packets lost with ctwarden, %d with nothing, %d with a cron job that doubles max.</desc>\n",
		xmlText(d.r.About), d.r.Policy.Losses.Packets(), d.r.Nothing.Losses.Packets(), d.r.Cron.Losses.Packets())
	d.printf(`<text class="title" x="%s" y="26">%s</text>`+"\n", pixel(svgLeft), xmlText(clip(d.r.Scenario, 60)))
	d.printf(`<text x="%s" y="46">%s</text>`+"\n", pixel(svgLeft), xmlText(clip(d.r.About, 130)))
	d.printf(`<text x="%s" y="64">packets lost: %d with ctwarden, %d with nothing, %d with cron</text>`+"\n", pixel(svgLeft),
		d.r.Policy.Losses.Packets(), d.r.Nothing.Losses.Packets(), d.r.Cron.Losses.Packets())
}

// grid draws the axes: four or five round numbers each way.
func (d *drawing) grid() {
	step := roundStep(d.most / 4)
	for v := 0.0; v <= d.most; v += step {
		d.printf(`<line class="grid" x1="%s" x2="%s" y1="%s" y2="%[3]s"/>`, pixel(svgLeft), pixel(svgRight), d.y(v))
		d.printf(`<text class="axis" x="%s" y="%s" dy="4" text-anchor="end">%s</text>`+"\n", pixel(svgLeft-8), d.y(v), shortNumber(v))
	}
	every := roundSpan(d.span / 6)
	for at := time.Duration(0); at <= d.span; at += every {
		d.printf(`<line class="grid" x1="%s" x2="%[1]s" y1="%s" y2="%s"/>`, d.x(at), pixel(svgBottom), pixel(svgBottom+5))
		d.printf(`<text class="axis" x="%s" y="%s" text-anchor="middle">%s</text>`+"\n", d.x(at), pixel(svgBottom+18), shortSpan(at))
	}
}

// curves draws entries and max. Max stands still between two points.
func (d *drawing) curves() {
	var entries, limit []string
	for i := range d.r.Curve {
		p := &d.r.Curve[i]
		entries = append(entries, d.x(p.At)+","+d.y(float64(p.Entries)))
		if i > 0 && p.Max != d.r.Curve[i-1].Max {
			limit = append(limit, d.x(p.At)+","+d.y(float64(d.r.Curve[i-1].Max)))
		}
		if i == 0 || i == len(d.r.Curve)-1 || p.Max != d.r.Curve[i-1].Max {
			limit = append(limit, d.x(p.At)+","+d.y(float64(p.Max)))
		}
	}
	line := strings.Join(entries, " ")
	if line == "" {
		return
	}
	last := d.r.Curve[len(d.r.Curve)-1]
	d.printf(`<polygon class="area" points="%s,%s %s %s,%[2]s"/>`+"\n", d.x(d.r.Curve[0].At), pixel(svgBottom), line, d.x(last.At))
	d.printf(`<polyline class="entries" points="%s"/>`+"\n<polyline class=\"max\" points=\"%s\"/>\n", line, strings.Join(limit, " "))
	d.printf(`<text x="%s" y="%s" dy="-5" text-anchor="end">max %d</text>`+"\n", pixel(svgRight), d.y(float64(last.Max)), last.Max)
}

// levels draws the strip and says what its colours mean.
func (d *drawing) levels() {
	curve := d.r.Curve
	for from := 0; from < len(curve); {
		to := from + 1
		for to < len(curve) && curve[to].Level == curve[from].Level {
			to++
		}
		end := d.span
		if to < len(curve) {
			end = curve[to].At
		}
		d.printf(`<rect class="%s" x="%s" y="%s" width="%s" height="10"><title>%[1]s from %s to %s</title></rect>`+"\n",
			curve[from].Level, d.x(curve[from].At), pixel(svgStrip),
			pixel(float64(end-curve[from].At)/float64(d.span)*(svgRight-svgLeft)), clock(curve[from].At), clock(end))
		from = to
	}
	x := svgLeft
	for level := policy.Calm; level <= policy.Exhausted; level++ {
		d.printf(`<rect class="%s" x="%s" y="%s" width="10" height="10"/><text x="%s" y="%s">%[1]s</text>`+"\n",
			level, pixel(x), pixel(svgStrip+20), pixel(x+15), pixel(svgStrip+29))
		x += 95
	}
	d.printf(`<line class="entries" x1="%s" x2="%s" y1="%s" y2="%[3]s"/><text x="%[4]s" y="%[5]s">entries</text>`,
		pixel(x), pixel(x+24), pixel(svgStrip+25), pixel(x+30), pixel(svgStrip+29))
	d.printf(`<line class="max" x1="%s" x2="%s" y1="%s" y2="%[3]s"/><text x="%[4]s" y="%[5]s">max</text>`+"\n",
		pixel(x+95), pixel(x+119), pixel(svgStrip+25), pixel(x+125), pixel(svgStrip+29))
}

// acts numbers the acts on the curve and lists them below it.
func (d *drawing) acts(acts []deed) {
	row, before := 0, math.Inf(-1)
	for i, a := range acts {
		text := strings.Join(a.texts, "; ")
		x := svgLeft + (svgRight-svgLeft)*float64(a.at)/float64(d.span)
		// Marks that would stand on one another take turns.
		if row++; x-before >= 18 || row > 2 {
			row = 0
		}
		before = x
		y := svgTop - 14 + 14*float64(row)
		d.printf(`<g class="act"><title>%s</title><line x1="%s" x2="%[2]s" y1="%s" y2="%s"/><circle cx="%[2]s" cy="%[3]s" r="8"/>`,
			xmlText(text), pixel(x), pixel(y), pixel(svgBottom))
		d.printf(`<text x="%s" y="%s" text-anchor="middle">%d</text></g>`+"\n", pixel(x), pixel(y+3.5), i+1)
		switch {
		case i < svgMostActs:
			text = fmt.Sprintf("%d  %s  %s", i+1, clock(a.at), text)
		case i == svgMostActs:
			text = fmt.Sprintf("and %d more", len(acts)-i)
		default:
			continue
		}
		d.printf(`<text x="%s" y="%s">%s</text>`+"\n", pixel(svgLeft), pixel(svgList+svgLine*float64(i)), xmlText(clip(text, 140)))
	}
}

// xmlText is text as it may stand in XML, which has no place for control
// characters.
func xmlText(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0xfffe || c == 0xffff {
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}

// clip shortens text to at most n characters.
func clip(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:n-1]) + "…"
}

// roundStep rounds up to 1, 2 or 5 times a power of ten.
func roundStep(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(max(v, 1))))
	for _, times := range [...]float64{1, 2, 5} {
		if v <= times*unit {
			return times * unit
		}
	}
	return 10 * unit
}

// roundSpan rounds up to a span that people count in.
func roundSpan(d time.Duration) time.Duration {
	spans := [...]time.Duration{
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	}
	for _, span := range spans {
		if d <= span {
			return span
		}
	}
	return (d/(24*time.Hour) + 1) * 24 * time.Hour
}

func shortNumber(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', -1, 64) + "M"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'f', -1, 64) + "k"
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// shortSpan prints a round span, as in 1h30m.
func shortSpan(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
