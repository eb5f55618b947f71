package diagnosis

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
)

const (
	leastWidth = 40
	labelWidth = 11
	barWidth   = 30 // at most
)

// A screen writes lines that fit a width.
type screen struct {
	out   io.Writer
	width int
	err   error
}

func (s *screen) write(line string) {
	if s.err == nil {
		_, s.err = io.WriteString(s.out, audit.Sanitise(strings.TrimRight(line, " "))+"\n")
	}
}

// say prints a text under a label, broken between words.
func (s *screen) say(label, format string, args ...any) {
	for _, line := range ui.Wrap(fmt.Sprintf(format, args...), s.width-labelWidth) {
		s.write(fmt.Sprintf("%-*s%s", labelWidth, label, line))
		label = ""
	}
}

// Print prints the diagnosis for a person, in lines of at most width, and of 40
// where that is less; commands to paste are never broken. What comes from
// outside is made harmless. An error is that of out.
func (d *Diagnosis) Print(out io.Writer, width int) error {
	s := &screen{out: out, width: max(width, leastWidth)}
	d.printHead(s)
	if d.Census.Seen > 0 {
		d.printCensus(s)
		d.printActs(s)
		d.printTop(s)
		d.printAdvice(s)
	}
	d.Elsewhere.print(s, d.Table.Entries)
	return s.err
}

func (d *Diagnosis) printHead(s *screen) {
	t := &d.Table
	if d.From == fromText {
		s.say("table", "%d entries read from a text", t.Entries)
	} else {
		name := "of this host"
		if t.NetNS != 0 {
			name = fmt.Sprintf("of netns %d", t.NetNS)
			if d.Name != "" && d.Name != fmt.Sprint(t.NetNS) {
				name += " (" + d.Name + ")"
			}
		}
		s.say("table", "%d of %d entries (%s) %s, %d buckets, level %s", t.Entries, t.Max, t.Fullness().Percent(), name, t.Buckets, d.Level)
		how := "all of it"
		if d.Census.Sampled {
			how = fmt.Sprintf("a sample of %s; shares are within ±%.2f points, 95 times in 100", conntrack.Share(d.Census.Seen, t.Entries).Percent(), float64(d.Look.Margin)/100)
		}
		s.say("look", "%d entries in %s: %s", d.Census.Seen, d.Look.Took.Round(time.Millisecond), how)
	}
	s.say("cause", "%s", d.Sentence)
	if d.From == fromKernel && d.Level == policy.Calm.String() && d.Census.Seen > 0 {
		s.say("", "(nothing is wrong now; this is what would fill it)")
	}
	for _, note := range d.Notes {
		s.say("note", "%s", note)
	}
}

// A row is a line with a bar.
type row struct {
	name string
	n    uint64
}

func (d *Diagnosis) printCensus(s *screen) {
	s.write("")
	c, m := &d.Census, &d.Make
	d.bars(s, "protocol", largest(protocolRows(m)))
	d.bars(s, "tcp state", largest(stateRows(m)))
	d.bars(s, "status", []row{
		{"assured", c.Assured}, {"unreplied", c.Unreplied}, {"loopback", c.Loopback}, {"source NAT", m.SrcNAT},
		{"dest. NAT", m.DstNAT}, {"offloaded", m.Offload}, {"expected", m.Expected}, {"with helper", m.Helper}, {"ipv6", m.IPv6},
	})
	d.bars(s, "time left", rangeRows(&m.Remaining))
	d.bars(s, "idle for", rangeRows(&m.Idle))
}

func protocolRows(m *census.Make) []row {
	var rows []row
	for number, p := range m.Protocols {
		rows = append(rows, row{conntrack.ProtoName(uint8(number)), p.Entries})
	}
	return rows
}

func stateRows(m *census.Make) []row {
	var rows []row
	for state, n := range m.States {
		rows = append(rows, row{conntrack.TCPState(state).String(), n})
	}
	return rows
}

func largest(rows []row) []row {
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(b.n, a.n) })
	return rows
}

func rangeRows(h *census.Histogram) []row {
	var rows []row
	for _, r := range h.Ranges() {
		name := "up to " + ui.Seconds(r.UpTo)
		if r.UpTo == 0 {
			name = "more"
		}
		rows = append(rows, row{name, r.Entries})
	}
	return append(rows, row{"unknown", h.Unknown()})
}

// bars draws the rows that have entries.
func (d *Diagnosis) bars(s *screen, label string, rows []row) {
	const fixed = labelWidth + 12 + 8 + 11 // label, name, share, entries
	width := min(max(s.width-fixed, 0), barWidth)
	for _, r := range rows {
		if r.n == 0 {
			continue
		}
		share := d.Census.Share(r.n)
		drawn := ""
		if width >= 8 { // a shorter one is of no use
			room := width - 2
			drawn = ui.Bar(max(share.Of(uint64(room)), 1), uint64(room)) + " "
		}
		s.write(fmt.Sprintf("%-*s%-12s%7s %s%d", labelWidth, label, r.name, share.Percent(), drawn, r.n))
		label = ""
	}
}

// printActs draws a table, or, where there is no room for one, sentences.
func (d *Diagnosis) printActs(s *screen) {
	const frees, from, until = 18, 8, 8
	s.write("")
	act := s.width - frees - from - until
	table := act > 45 // the longest act and a space
	if table {
		s.write(fmt.Sprintf("%-*s%-*s%-*s%s", act, "what ctwarden could do", frees, "frees entries", from, "from", "all by"))
	} else {
		s.write("what ctwarden could do")
	}
	for i := range d.Acts {
		f := &d.Acts[i]
		if table {
			end := ""
			if f.Until > 0 {
				end = moment(f.Until)
			}
			s.write(fmt.Sprintf("%-*s%-*s%-*s%s", act, f.Text, frees, f.number(), from, moment(f.From), end))
		} else {
			s.say("", "%s: frees %s entries, from %s, all by %s", f.Text, f.number(), moment(f.From), moment(f.Until))
		}
		s.say("", "costs: %s", f.Cost)
		if f.Held != "" {
			s.say("", "held: %s", f.Held)
		}
		if f.Eligibility != nil {
			s.say("", "%s", spared(f.Eligibility))
		}
	}
}

// number formats how many entries an act frees.
func (f *Act) number() string {
	switch {
	case f.Type == policy.ResizeHash:
		return "none"
	case f.Room:
		return fmt.Sprintf("room for %d", f.Frees)
	case f.Margin > 0:
		return fmt.Sprintf("%d ± %d", f.Frees, f.Margin)
	}
	return fmt.Sprint(f.Frees)
}

func moment(d time.Duration) string {
	if d == 0 {
		return "at once"
	}
	return ui.Seconds(uint32(d / time.Second))
}

// sparedWord describes why an entry is spared.
func sparedWord(f policy.Eligibility) string {
	switch f {
	case policy.SparedReplied:
		return "were answered"
	case policy.SparedAssured:
		return "are assured"
	case policy.SparedEstablished:
		return "are established, of which one direction is seen"
	case policy.SparedWrongClass:
		return "are not closing"
	case policy.SparedDying:
		return "are being removed"
	case policy.SparedExpected:
		return "belong to another connection"
	case policy.SparedHelper:
		return "have a helper"
	case policy.SparedFixedTimeout:
		return "have a fixed timeout"
	case policy.SparedOffload:
		return "are offloaded"
	case policy.SparedDNAT:
		return "have their destination translated"
	case policy.SparedProtected:
		return "are protected"
	case policy.SparedIdleUnknown:
		return "have an unknown idle time"
	case policy.SparedTooYoung:
		return "are not idle for long enough"
	case policy.SparedShort:
		return "have no more time left anyway"
	}
	return "are " + f.String()
}

// spared lists why the others are not touched, the most frequent reason first.
func spared(counts *policy.Eligibilities) string {
	var rows []row
	var looked uint64
	for eligibility, n := range counts {
		looked += n
		if n > 0 && policy.Eligibility(eligibility) != policy.Eligible {
			rows = append(rows, row{sparedWord(policy.Eligibility(eligibility)), n})
		}
	}
	var why []string
	for _, r := range largest(rows) {
		why = append(why, fmt.Sprintf("%d %s", r.n, r.name))
	}
	if len(why) == 0 {
		return fmt.Sprintf("all %d entries looked at are eligible", looked)
	}
	return fmt.Sprintf("of %d entries looked at %d are eligible; spared: %s", looked, counts[policy.Eligible], strings.Join(why, ", "))
}

func (d *Diagnosis) printTop(s *screen) {
	s.write("")
	if s.err != nil {
		return
	}
	var b strings.Builder
	w := ui.NewTable(&b)
	s.write("who has the most entries")
	printTalkers(w, d, "sources", d.Top.Sources)
	printTalkers(w, d, "networks", d.Top.Networks)
	printTalkers(w, d, "to", d.Top.Destinations)
	printTalkers(w, d, "to port", d.Top.Ports)
	if len(d.Top.Zones) > 1 || (len(d.Top.Zones) == 1 && d.Top.Zones[0].Key != 0) {
		printTalkers(w, d, "zones", d.Top.Zones)
	}
	if s.err = w.Flush(); s.err != nil {
		return
	}
	for line := range strings.Lines(b.String()) {
		s.write(strings.TrimSuffix(line, "\n"))
	}
}

// printTalkers leaves out talkers below a hundredth, but for the first.
func printTalkers[K any](w io.Writer, d *Diagnosis, label string, top []census.Counted[K]) {
	for i, c := range top {
		share := d.Census.Share(c.Count)
		if i > 0 && share < 100 {
			return
		}
		unsure := ""
		if c.Error > 0 {
			unsure = fmt.Sprintf("(%d at least)", c.Count-c.Error)
		}
		fmt.Fprintf(w, "%-*s%v\t%s\t%d %s\n", labelWidth, label, c.Key, share.Percent(), c.Count, unsure)
		label = ""
	}
}

func (d *Diagnosis) printAdvice(s *screen) {
	if len(d.Advice) == 0 {
		return
	}
	s.write("")
	s.write("for good")
	for i, ad := range d.Advice {
		s.say(fmt.Sprintf("%d.", i+1), "%s", ad.Text)
		if ad.Breaks != "" {
			s.say("", "breaks: %s", ad.Breaks)
		}
		for _, c := range ad.Commands {
			s.write(strings.Repeat(" ", labelWidth+2) + c)
		}
	}
}
