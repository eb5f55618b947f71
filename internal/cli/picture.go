package cli

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
)

// maxListed is how many actions are listed below a picture.
const maxListed = 24

// writePicture writes the curve of a simulation to a file: entries and max over
// time, the levels, and the numbered plans with what each did.
func writePicture(name string, r *tablesim.Result, limits *policy.Limits) error {
	if err := os.WriteFile(name, []byte(picture(r, limits).SVG()), 0o644); err != nil { //nolint:gosec // a picture is for others to read
		return fmt.Errorf("write picture: %w", err)
	}
	return nil
}

func picture(r *tablesim.Result, limits *policy.Limits) *ui.Picture {
	l := &limits.Levels
	p := &ui.Picture{
		Title: ui.Clip(audit.Sanitise(r.Scenario), 60),
		Head: []string{
			ui.Clip(audit.Sanitise(r.About), 130),
			fmt.Sprintf("packets lost: %d with ctwarden, %d with nothing, %d with a cron job that doubles max",
				r.Policy.Losses.Packets(), r.Nothing.Losses.Packets(), r.Cron.Losses.Packets()),
		},
		Chart: ui.Chart{
			ID: "curve", Width: 960, Height: 400, Font: 13, Points: points(r.Curve),
			Title: "Entries in the connection tracking table, and its limit, over time",
			Levels: []ui.Level{
				policy.Calm:      {Name: policy.Calm.String()},
				policy.Elevated:  {Name: policy.Elevated.String(), From: l.ElevatedEnter, To: l.HighEnter},
				policy.High:      {Name: policy.High.String(), From: l.HighEnter, To: l.ExhaustedEnter},
				policy.Exhausted: {Name: policy.Exhausted.String(), From: l.ExhaustedEnter, To: 10000},
			},
		},
	}
	for i := range r.Timeline {
		line := &r.Timeline[i]
		if line.Kind != tablesim.ActionLine {
			continue
		}
		marks, text := p.Chart.Marks, audit.Sanitise(line.Text)
		if n := len(marks); n > 0 && marks[n-1].At == line.At {
			marks[n-1].Text += "; " + text
			continue
		}
		p.Chart.Marks = append(marks, ui.Mark{At: line.At, Number: len(marks) + 1, Text: text})
	}
	for n, m := range p.Chart.Marks {
		if n == maxListed {
			p.Foot = append(p.Foot, fmt.Sprintf("and %d more", len(p.Chart.Marks)-n))
			break
		}
		p.Foot = append(p.Foot, ui.Clip(fmt.Sprintf("%d  %s  %s", m.Number, m.At.Round(time.Second/10), m.Text), 140))
	}
	p.Chart.Desc = strings.Join(p.Head, ". ") + "."
	return p
}
