package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/report"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

var update = flag.Bool("update", false, "write the golden files anew")

// drill is the report of a real drill: testdata/drill.jsonl is what "ctwarden
// drill --json" printed on Linux 6.18.
func drill(t testing.TB) *report.Report {
	t.Helper()
	text, err := os.ReadFile("testdata/drill.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var g incident.Grouper
	for line := range bytes.Lines(text) {
		var e struct {
			Seq  uint64    `json:"seq"`
			Time time.Time `json:"time"`
			Kind string    `json:"kind"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		g.Add(incident.Event{Seq: e.Seq, Time: e.Time, Kind: record.Kind(e.Kind), Line: line})
	}
	found := slices.Collect(g.Newest())
	if len(found) != 1 {
		t.Fatalf("%d incidents, want 1", len(found))
	}
	return report.New(found[0], time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC))
}

// forms are all the ways to write a report.
func forms() map[string]func(*report.Report, io.Writer) error {
	return map[string]func(*report.Report, io.Writer) error{
		"txt":  func(r *report.Report, w io.Writer) error { return r.WriteText(w, report.TextOptions{Width: 80}) },
		"slim": func(r *report.Report, w io.Writer) error { return r.WriteText(w, report.TextOptions{Width: 40}) },
		"show": func(r *report.Report, w io.Writer) error {
			return r.WriteShort(w, report.TextOptions{Width: 80}, "ctwarden incident report last")
		},
		"md":   (*report.Report).WriteMarkdown,
		"html": (*report.Report).WriteHTML,
		"json": (*report.Report).WriteJSON,
	}
}

func write(t testing.TB, r *report.Report, form string) string {
	t.Helper()
	var b strings.Builder
	if err := forms()[form](r, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDrillIsToldAsItWas(t *testing.T) {
	r := drill(t)
	for form := range forms() {
		t.Run(form, func(t *testing.T) {
			got := write(t, r, form)
			name := "testdata/drill." + form
			if *update {
				if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTextFitsItsPaper(t *testing.T) {
	r := drill(t)
	for _, width := range []int{40, 60, 80, 120} {
		var b strings.Builder
		if err := r.WriteText(&b, report.TextOptions{Width: width}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			line = strings.TrimRight(line, "\n")
			// Files and commands are to be copied, so they are not wrapped.
			if n := utf8.RuneCountInString(line); n > width && !strings.HasPrefix(line, "    ") {
				t.Errorf("width %d: a line of %d: %q", width, n, line)
			}
		}
	}
}

func TestColoursOnlyWhereTheyArePermitted(t *testing.T) {
	r := drill(t)
	for _, color := range []bool{false, true} {
		var b strings.Builder
		if err := r.WriteText(&b, report.TextOptions{Width: 80, Color: color}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(b.String(), "\x1b["); got != color {
			t.Errorf("colours permitted: %v, in the text: %v", color, got)
		}
	}
}

// hostile is a report in which whatever comes from outside means harm.
func hostile(t testing.TB) *report.Report {
	t.Helper()
	const bad = "\x1b]0;owned\x07\x1b[2J</td><script>alert(1)</script>\r\n| `rm -rf` | [x](javascript:1) \u202egnp.exe &lt; --> ]]> ```\n# title"
	long := strings.Repeat("A", 64<<10) + bad
	i := drill(t).Incident
	i.ID, i.Merged, i.Version, i.Kernel, i.Mode = bad, []string{bad, long}, bad, bad, bad
	i.Gaps = []string{bad, long, "``` \x1b[31m"}
	i.Changed = append(i.Changed, incident.KernelChange{Sysctl: bad, Original: 1, Written: 2})
	i.Cost.Samples = append(i.Cost.Samples, policy.Sample{
		Src: netip.MustParseAddr("fe80::1").WithZone("<script>\x1b[2J"), Dst: netip.MustParseAddr("::1"),
	})
	look := *i.Before
	look.Top = &census.Talkers{
		Sources: []census.Counted[netip.Addr]{{Key: netip.MustParseAddr("fe80::2").WithZone("</td><script>\x1b[2J"), Count: 30_000}},
		Ports:   []census.Counted[census.Port]{{Key: census.Port{Proto: 17, Number: 9}, Count: 45_000}},
	}
	i.Before, i.After = &look, nil
	for n := range i.Decisions {
		d := &i.Decisions[n]
		d.Text = long
		if d.Outcome != nil {
			out := *d.Outcome
			out.OK, out.Error = false, bad
			d.Outcome = &out
		}
	}
	i.Decisions = append(i.Decisions, incident.Decision{Kind: "of a later version", Text: bad})
	return report.New(i, time.Unix(0, 0))
}

func TestHostileTextReachesNobodyRaw(t *testing.T) {
	r := hostile(t)
	for form := range forms() {
		t.Run(form, func(t *testing.T) {
			got := write(t, r, form)
			for _, c := range got {
				if c < 0x20 && c != '\n' && c != '\t' || c == 0x7f || c == '\u202e' {
					t.Fatalf("control character %U", c)
				}
			}
			if form == "json" {
				return
			}
			if len(got) > 200<<10 {
				t.Errorf("%d bytes: long text is not cut", len(got))
			}
			switch {
			case form == "html" && (strings.Contains(got, "<script") || strings.Contains(got, "javascript:1\"")):
				t.Error("a script reached the page")
			case form == "md" && (strings.Contains(got, "\n# title") || strings.Contains(prose(got), "<script>")):
				t.Error("Markdown of the log's text is in force")
			}
		})
	}
}

// prose is Markdown without its fenced parts, which mean nothing but
// themselves.
func prose(text string) string {
	var b strings.Builder
	fence := ""
	for line := range strings.Lines(text) {
		marks := line[:len(line)-len(strings.TrimLeft(line, "`"))]
		switch {
		case fence != "":
			if strings.TrimRight(line, "\n") == fence {
				fence = ""
			}
		case len(marks) >= 3:
			fence = marks
		default:
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestTopTalkersAreToldWhereTheyAreRecorded(t *testing.T) {
	text := write(t, hostile(t), "txt")
	for _, want := range []string{"The largest shares", "udp/9"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
}

func TestWhoHasLittleIsNotNamed(t *testing.T) {
	i := drill(t).Incident
	look := *i.Before
	look.Seen = 10_000
	look.Top = &census.Talkers{Ports: []census.Counted[census.Port]{{Key: census.Port{Proto: 6, Number: 80}, Count: 100}, {Key: census.Port{Proto: 6, Number: 81}, Count: 99}}}
	i.Before, i.After = &look, nil
	if text := write(t, report.New(i, time.Unix(0, 0)), "txt"); !strings.Contains(text, "tcp/80") || strings.Contains(text, "tcp/81") {
		t.Errorf("a port with 1 %% is not named, or one with less is:\n%s", text)
	}
	look.Top.Ports = look.Top.Ports[1:]
	if text := write(t, report.New(i, time.Unix(0, 0)), "txt"); !strings.Contains(text, "No address and no port had 1 %") {
		t.Errorf("nobody has 1 %%, and the report does not say so:\n%s", text)
	}
}

func TestMarkdownTablesKeepTheirColumns(t *testing.T) {
	for _, r := range []*report.Report{drill(t), hostile(t)} {
		columns := 0
		for line := range strings.Lines(write(t, r, "md")) {
			if !strings.HasPrefix(line, "|") {
				columns = 0
				continue
			}
			n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
			if columns > 0 && n != columns {
				t.Errorf("%d columns, then %d: %s", columns, n, line)
			}
			columns = n
		}
	}
}

func TestPageNeedsNothingElse(t *testing.T) {
	page := write(t, drill(t), "html")
	for _, bad := range []string{"<script", "http://", "https://", "<link", "<img", "@import", "url(", "onload", "<iframe"} {
		rest := strings.ReplaceAll(page, "http://www.w3.org/2000/svg", "")
		if strings.Contains(rest, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, good := range []string{"prefers-color-scheme: dark", "@media print", "name=\"viewport\"", "<caption>", "scope=\"col\"", "lang=\"en\""} {
		if !strings.Contains(page, good) {
			t.Errorf("the page lacks %q", good)
		}
	}
	if n := strings.Count(page, "<h1>"); n != 1 {
		t.Errorf("%d headings of the first order", n)
	}
}

func TestEachFieldCaseIsTold(t *testing.T) {
	var e estimates
	for _, name := range tablesim.BuiltInNames() {
		t.Run(name, func(t *testing.T) {
			found := play(t, name)
			for i := range found {
				r := report.New(found[i], time.Unix(0, 0))
				for form := range forms() {
					if got := write(t, r, form); len(got) < 400 {
						t.Errorf("%s of %s: %q", form, found[i].ID, got)
					}
				}
				t.Log(summary(&found[i]))
			}
			if slices.Contains(judgeable(), name) {
				e.judge(t, name, found)
			}
		})
	}
	if e.judged != len(judgeable()) || e.within < e.judged-1 {
		t.Errorf("%d estimates judged, %d within their range, want %d and at most one less", e.judged, e.within, len(judgeable()))
	}
}

// judgeable are the scenarios whose estimate can be compared with the model:
// not those whose tale goes on after the incident, as a slow one does, whose
// raises are incidents far apart, or in which somebody else turns knobs.
func judgeable() []string {
	return []string{
		"budget_exhausted", "case_a_compute_node", "case_b_redis_web", "case_d_front_end", "case_e_old_kernel", "dns_storm",
		"nat_burst", "ramp", "syn_flood", "udp_scan", "unholdable_flood",
	}
}

// estimates counts those that were judged, and those that hold the truth.
type estimates struct{ judged, within int }

// judge compares the estimate, which knows only what was recorded, with the
// same load on the same table without ctwarden.
func (j *estimates) judge(t *testing.T, name string, found []incident.Incident) {
	t.Helper()
	if len(found) != 1 {
		t.Fatalf("%d incidents, want 1", len(found))
	}
	e := found[0].Estimate()
	s, err := tablesim.BuiltIn(name)
	if err != nil {
		t.Fatal(err)
	}
	limits := policy.Defaults()
	l := tablesim.Run(s, &limits).Nothing.Losses
	truth := l.Full + l.EarlyDropped + l.EvictedByGC
	j.judged++
	if truth >= e.NoRoom.Low && truth <= e.NoRoom.High {
		j.within++
	}
	t.Logf("model %d, estimated %d (%d to %d)", truth, e.NoRoom.Likely, e.NoRoom.Low, e.NoRoom.High)
	if 2*e.NoRoom.Likely > 5*truth || 2*truth > 5*e.NoRoom.Likely {
		t.Errorf("estimated %d, in the model %d: more than a factor of 2.5 apart", e.NoRoom.Likely, truth)
	}
	if l.Full > 1000 && (l.Full > 2*e.Refused.High || 2*l.Full < e.Refused.Low) {
		t.Errorf("refused %+v, in the model %d", e.Refused, l.Full)
	}
}

func TestNothingInNothingOut(t *testing.T) {
	r := report.New(incident.Incident{}, time.Unix(0, 0))
	for form := range forms() {
		if got := write(t, r, form); strings.Contains(got, "NaN") || strings.Contains(got, "Inf ") {
			t.Errorf("%s of no incident: %q", form, got)
		}
	}
}

func TestAWriterThatFailsIsAnError(t *testing.T) {
	r := drill(t)
	for form, fn := range forms() {
		if err := fn(r, broken{}); !errors.Is(err, errBroken) {
			t.Errorf("%s: error %v, want %v", form, err, errBroken)
		}
	}
}

var errBroken = errors.New("broken pipe")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }
