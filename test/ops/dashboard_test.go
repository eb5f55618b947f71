package ops

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestDashboardProvisioning: Grafana takes a file as it is. What it does
// not understand it leaves out in silence: a panel without data, a number
// without a unit, a panel under another.
func TestDashboardProvisioning(t *testing.T) {
	type source struct{ Type, UID string }
	var d struct {
		ID            *int
		UID, Title    string
		SchemaVersion int
		Templating    struct {
			List []struct {
				Name, Type, Query string
				Datasource        source
			}
		}
		Panels []struct {
			ID                       int
			Title, Type, Description string
			Datasource               source
			GridPos                  struct{ X, Y, W, H int }
			FieldConfig              struct {
				Defaults  struct{ Unit string }
				Overrides []struct {
					Matcher struct{ ID, Options string }
				}
			}
			Targets []struct{ RefID, Expr, LegendFormat string }
		}
	}
	// The query of a variable is a text for a data source, and more for others.
	text := strings.Replace(read(t, dashboard), `"query": {`, `"queryOf": {`, 1)
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	if d.ID != nil || d.UID == "" || d.Title == "" || d.SchemaVersion < 36 {
		t.Errorf("id %v, uid %q, title %q, schema %d", d.ID, d.UID, d.Title, d.SchemaVersion)
	}
	if v := d.Templating.List; len(v) != 2 || v[0].Name != "datasource" || v[0].Type != "datasource" || v[0].Query != "prometheus" {
		t.Errorf("variables %+v", v)
	}
	chosen, ids, cells := source{"prometheus", "${datasource}"}, map[int]bool{}, map[string]string{}
	for _, p := range d.Panels {
		if p.Datasource != chosen || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || ids[p.ID] || len(p.Targets) == 0 {
			t.Errorf("%s: no data source of the reader's choice, description, unit, number of its own or query: %+v", p.Title, p)
		}
		ids[p.ID] = true
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if refs[q.RefID] || q.LegendFormat == "" || strings.Count(q.Expr, "ctwarden_") != strings.Count(q.Expr, `instance=~"$instance"`) {
				t.Errorf("%s: query %+v", p.Title, q)
			}
			refs[q.RefID] = true
		}
		for _, o := range p.FieldConfig.Overrides {
			if o.Matcher.ID != "byFrameRefID" || !refs[o.Matcher.Options] {
				t.Errorf("%s: an override for no query: %+v", p.Title, o)
			}
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				cell := fmt.Sprintf("%d,%d", x, y)
				if other := cells[cell]; other != "" || x >= 24 {
					t.Fatalf("%s lies over %q, or beyond the edge", p.Title, other)
				}
				cells[cell] = p.Title
			}
		}
	}
}
