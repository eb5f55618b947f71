package cli

import (
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
)

// A parsedSVG has the elements of an SVG, counted by class, and all its text.
type parsedSVG struct {
	height  float64
	classes map[string]int
	points  map[string][][2]float64
	text    strings.Builder
}

// parse reads the SVG of a result, which must be well-formed and within its frame.
func parse(t *testing.T, r *tablesim.Result) *parsedSVG {
	t.Helper()
	limits := policy.Defaults()
	text := picture(r, &limits).SVG()
	p := &parsedSVG{classes: map[string]int{}, points: map[string][][2]float64{}}
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return p
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		switch token := token.(type) {
		case xml.CharData:
			p.text.Write(token)
		case xml.StartElement:
			p.element(t, token)
		}
	}
}

func (p *parsedSVG) element(t *testing.T, e xml.StartElement) {
	t.Helper()
	class := e.Name.Local
	for _, a := range e.Attr {
		if a.Name.Local == "class" {
			class += "." + a.Value
		}
	}
	p.classes[class]++
	for _, a := range e.Attr {
		switch a.Name.Local {
		case "height":
			if e.Name.Local == "svg" && p.height == 0 { // the chart is one within it
				p.height = number(t, a.Value)
			}
		case "x", "x1", "x2", "cx":
			if v := number(t, a.Value); v < 0 || v > 960 {
				t.Errorf("%s %s is %g", class, a.Name.Local, v)
			}
		case "y", "y1", "y2", "cy":
			if v := number(t, a.Value); v < 0 || v > p.height {
				t.Errorf("%s %s is %g of %g", class, a.Name.Local, v, p.height)
			}
		case "points":
			for pair := range strings.FieldsSeq(a.Value) {
				x, y, _ := strings.Cut(pair, ",")
				p.points[class] = append(p.points[class], [2]float64{number(t, x), number(t, y)})
			}
		}
	}
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		t.Fatalf("%q is not a coordinate", s)
	}
	return v
}

func TestPictureOfRamp(t *testing.T) {
	r := simulated(t, "ramp")
	p := parse(t, r)
	// The entries: corners from left to right, as many as pixels can show.
	entries := p.points["polyline.entries"]
	if len(entries) < 100 || len(entries) > len(r.Curve) {
		t.Errorf("%d corners of %d points", len(entries), len(r.Curve))
	}
	for i := 1; i < len(entries); i++ {
		if entries[i][0] < entries[i-1][0] {
			t.Fatalf("corner %d is left of the previous one", i)
		}
	}
	// Max only rises in this scenario, in steps: no line is diagonal.
	limit := p.points["polyline.max"]
	for i := 1; i < len(limit); i++ {
		if a, b := limit[i-1], limit[i]; b[1] > a[1] || b[0] != a[0] && b[1] != a[1] {
			t.Errorf("max goes from %v to %v", a, b)
		}
	}
	plans := map[time.Duration]bool{}
	for i := range r.Timeline {
		if line := &r.Timeline[i]; line.Kind == tablesim.ActionLine {
			plans[line.At] = true
		}
	}
	if got := p.classes["g.act"]; got != len(plans) || got != r.Acts {
		t.Errorf("%d marks, want one for each of %d plans", got, len(plans))
	}
	for _, level := range []string{"calm", "elevated", "high"} {
		if p.classes["rect.strip "+level] == 0 || p.classes["rect."+level] != 1 { // one is in the legend
			t.Errorf("no level %s on the strip", level)
		}
	}
	for _, text := range []string{
		"ramp", r.About, "packets lost: 0 with ctwarden, ", "limit " + ui.Number(r.Policy.Max),
		"1  0s  set nf_conntrack_buckets", strconv.Itoa(r.Acts) + "  ",
	} {
		if !strings.Contains(p.text.String(), text) {
			t.Errorf("no %q in the picture", text)
		}
	}
}

func TestPictures(t *testing.T) {
	for _, name := range tablesim.BuiltInNames() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := simulated(t, name)
			if p := parse(t, r); p.classes["g.act"] != r.Acts {
				t.Errorf("%d marks, want one for each of %d plans", p.classes["g.act"], r.Acts)
			}
		})
	}
}

func TestPictureOfShortRun(t *testing.T) {
	many := &tablesim.Result{Scenario: "many", Curve: []tablesim.Point{{Entries: 1}, {At: time.Hour, Max: 5}}}
	for i := range 40 {
		many.Timeline = append(many.Timeline, tablesim.Line{At: time.Duration(i) * time.Minute, Kind: tablesim.ActionLine, Text: "did it"})
	}
	tests := map[string]struct {
		result *tablesim.Result
		want   string
	}{
		"no turn":                         {&tablesim.Result{}, "packets lost"},
		"one point":                       {&tablesim.Result{Curve: []tablesim.Point{{Entries: 5, Max: 0}}}, "packets lost"},
		"no limit":                        {&tablesim.Result{Curve: []tablesim.Point{{Entries: 5}, {At: time.Second, Entries: 9}}}, "limit 0"},
		"max as high as it goes":          {&tablesim.Result{Curve: []tablesim.Point{{Max: 1 << 32}, {At: time.Second}}}, "4000M"},
		"markup in a name":                {&tablesim.Result{Scenario: `<script a="b">&`}, `<script a="b">&`},
		"control characters and bad text": {&tablesim.Result{About: "a\x1b[31m\xff\x00b"}, `a\x1b[31m\xff\x00b`},
		"a long description":              {&tablesim.Result{About: strings.Repeat("ä", 200)}, strings.Repeat("ä", 129) + "…"},
		"more acts than fit":              {many, "and 16 more"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if text := parse(t, test.result).text.String(); !strings.Contains(text, test.want) {
				t.Errorf("no %q in %q", test.want, text)
			}
		})
	}
}

func TestPictureWriteError(t *testing.T) {
	limits := policy.Defaults()
	if err := writePicture(filepath.Join(t.TempDir(), "none", "a.svg"), &tablesim.Result{}, &limits); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want that there is no such directory", err)
	}
}

// simulated plays a shipped scenario.
func simulated(t *testing.T, name string) *tablesim.Result {
	t.Helper()
	s, err := tablesim.BuiltIn(name)
	if err != nil {
		t.Fatal(err)
	}
	limits := policy.Defaults()
	return tablesim.Run(s, &limits)
}
