package report_test

import (
	"encoding/xml"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/report"
	"github.com/ctwarden/ctwarden/policy"
)

// element is one of the page's, with what an SVG needs.
type element struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Text    string     `xml:",chardata"`
	Inner   []element  `xml:",any"`
}

func (e *element) attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (e *element) find(name, class string) []*element {
	var found []*element
	for i := range e.Inner {
		in := &e.Inner[i]
		if in.XMLName.Local == name && (class == "" || strings.Contains(" "+in.attr("class")+" ", " "+class+" ")) {
			found = append(found, in)
		}
		found = append(found, in.find(name, class)...)
	}
	return found
}

func drawings(t *testing.T, page string) []element {
	t.Helper()
	var all []element
	for {
		from, to := strings.Index(page, "<svg"), strings.Index(page, "</svg>")
		if from < 0 {
			return all
		}
		var e element
		if err := xml.Unmarshal([]byte(page[from:to+len("</svg>")]), &e); err != nil {
			t.Fatalf("the drawing is not XML: %v", err)
		}
		all = append(all, e)
		page = page[to+len("</svg>"):]
	}
}

func TestDrawingHasAllThatItShould(t *testing.T) {
	r := drill(t)
	all := drawings(t, write(t, r, "html"))
	if len(all) != 2 {
		t.Fatalf("%d drawings, want a wide and a narrow one", len(all))
	}
	acts := 0
	seen := map[uint64]bool{}
	for _, d := range r.Incident.Decisions {
		if d.Action != nil && !seen[d.Seq] {
			acts++
			seen[d.Seq] = true
		}
	}
	for _, svg := range all {
		if svg.attr("role") != "img" || svg.attr("aria-labelledby") == "" || len(svg.find("desc", "")) != 1 {
			t.Error("nobody reads the drawing aloud: role, labels or description are missing")
		}
		for id := range strings.FieldsSeq(svg.attr("aria-labelledby")) {
			if !strings.Contains(id, strings.Fields(svg.attr("class"))[1]) {
				t.Errorf("label %q is not of this drawing", id)
			}
		}
		for what, want := range map[[2]string]int{
			{"polyline", "entries"}: 1, {"polyline", "max"}: 1, {"polygon", "area"}: 1, {"polygon", "band"}: 3, {"g", "act"}: acts, {"g", "mark"}: acts, {"g", "would"}: 2,
		} {
			if got := len(svg.find(what[0], what[1])); got != want {
				t.Errorf("%d of %v, want %d", got, what, want)
			}
		}
		if strips := svg.find("rect", "strip"); len(strips) < 3 {
			t.Errorf("%d stretches of levels, want calm, high and exhausted", len(strips))
		}
		box := strings.Fields(svg.attr("viewBox"))
		for _, label := range svg.find("text", "") {
			if strings.HasPrefix(label.attr("x"), "-") || len(label.attr("x")) > len(box[2])+2 {
				t.Errorf("text %q at x=%s leaves the drawing", label.Text, label.attr("x"))
			}
		}
	}
}

// crowd is a report whose acts stand close to one another, in groups.
func crowd(t testing.TB, acts int) *report.Report {
	t.Helper()
	i := drill(t).Incident
	i.Decisions = nil
	span := i.Last.At - i.First.At
	for n := range acts {
		at := i.First.At + span*policy.BootTime(n/5*5)/policy.BootTime(acts) + policy.BootTime(n%5)*policy.BootTime(50*time.Millisecond)
		i.Decisions = append(i.Decisions, incident.Decision{
			Seq: uint64(n + 1), At: min(at, i.Last.At), Kind: incident.Acted, Action: &policy.Action{Type: policy.RaiseMax, From: 1, To: 2},
		})
	}
	return report.New(i, time.Unix(0, 0))
}

func TestMarksOfActsAreReadable(t *testing.T) {
	for _, acts := range []int{1, 2, 5, 23, 200} {
		for _, svg := range drawings(t, write(t, crowd(t, acts), "html")) {
			width, err := strconv.ParseFloat(strings.Fields(svg.attr("viewBox"))[2], 64)
			if err != nil {
				t.Fatal(err)
			}
			end, next := 0.0, 1
			for _, mark := range svg.find("g", "mark") {
				box := mark.find("rect", "")[0]
				x, err := strconv.ParseFloat(box.attr("x"), 64)
				w, err2 := strconv.ParseFloat(box.attr("width"), 64)
				if err != nil || err2 != nil || x < end || x+w > width {
					t.Errorf("%d acts: a mark from %v to %v, the one before ends at %v, the drawing at %v", acts, x, x+w, end, width)
				}
				end = x + w
				first, last, many := strings.Cut(mark.find("text", "")[0].Text, "–")
				if !many {
					last = first
				}
				if n, err := strconv.Atoi(first); err != nil || n != next {
					t.Errorf("%d acts: a mark begins with %q, want %d", acts, first, next)
				}
				n, err := strconv.Atoi(last)
				if err != nil {
					t.Fatal(err)
				}
				next = n + 1
			}
			if next != acts+1 {
				t.Errorf("%d acts: the marks end at %d", acts, next-1)
			}
		}
	}
}
