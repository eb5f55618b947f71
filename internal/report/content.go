package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
)

// sections returns the whole content.
func (r *Report) sections() []section {
	return slices.DeleteFunc([]section{
		r.happened(), {title: "The table over time", blocks: []block{{curve: true}}}, r.lost(), r.composition(), r.decisions(),
		r.cost(), r.changed(), r.fix(), r.missing(),
	}, func(s section) bool { return len(s.blocks) == 0 })
}

func (r *Report) happened() section {
	i := &r.Incident
	s := section{title: "What happened"}
	for _, text := range summary(i) {
		s.blocks = append(s.blocks, paragraph(text))
	}
	t := &table{caption: "The incident in numbers", head: []string{"", ""}}
	t.add("Incident", clean(i.ID))
	if n := len(i.Merged); n > 0 {
		t.add("Merged with", clean(strings.Join(i.Merged[:min(n, 8)], ", "))+more(n-8))
	}
	t.add("From", dateTime(i.Start))
	t.add("To", dateTime(i.End)+map[incident.Status]string{
		incident.Open: " (the record ends here)", incident.Interrupted: " (the last known time)",
	}[i.Status])
	t.add("Fullest", fmt.Sprintf("%s of %s entries, %s", ui.Number(i.Peak.Entries), ui.Number(i.Peak.Max), policy.Percent(i.Peak.Fullness())))
	t.add("Highest level", i.Level.String())
	t.add("Cause", causeName(i.Cause))
	t.add("Packets lost", ui.Number(i.Losses.Packets))
	t.add("Entries evicted by the kernel", ui.Number(i.Losses.Evicted))
	if i.Losses.BelowMax > 0 {
		t.add("Packets lost for other reasons", ui.Number(i.Losses.BelowMax))
	}
	if i.Losses.InsertFailed > 0 {
		t.add("Insert conflicts", ui.Number(i.Losses.InsertFailed))
	}
	if i.KernelLines > 0 {
		t.add("Kernel log lines \"table full\"", ui.Number(i.KernelLines))
	}
	if i.Version != "" {
		t.add("Written by", clean(fmt.Sprintf("ctwarden %s on Linux %s, mode %s", i.Version, i.Kernel, i.Mode)))
	}
	s.blocks = append(s.blocks, block{table: t})
	return s
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}

func (r *Report) lost() section {
	i, e := &r.Incident, &r.Without
	s := section{title: "What was lost, and what would have been lost without ctwarden"}
	t := &table{caption: "Losses with and without ctwarden", head: []string{"", "With ctwarden (counted)", "Without (estimated)"}, right: []bool{false, true, true}}
	counted := i.Losses.Packets + i.Losses.Evicted
	noRoom, refused := "unknown", "unknown"
	if e.Known {
		noRoom, refused = likelyRange(&e.NoRoom), rangeText(&e.Refused)
	}
	t.add("Connections without room", ui.Number(counted), noRoom)
	t.add("of these, refused: their first packet was lost", ui.Number(i.Losses.Packets), refused)
	s.blocks = append(s.blocks, block{table: t})
	switch {
	case !e.Known:
		s.blocks = append(s.blocks, note("There is no estimate: "+e.Why+"."))
	case i.Counts.Done <= i.Counts.Restored:
		s.blocks = append(s.blocks, note("ctwarden changed nothing in this incident: the losses are the same."))
	default:
		s.blocks = append(s.blocks, paragraph("The kernel refuses a connection without room, or evicts another one that is not assured."),
			note(fmt.Sprintf("The estimate applies the connections that arrived to the earlier limit, %s entries, without deleting "+
				"any. The number of arrivals is inferred from the growth of the table and from the lifetime of such entries. The range comes from "+
				"halving and doubling that lifetime, and from the error of the method on simulated loads. A refused client that tries again counts once.", ui.Number(e.Max))))
	}
	return s
}

// rangeText prints a range whose middle is not known.
func rangeText(r *incident.Range) string {
	switch {
	case r.Low == r.High:
		return ui.Number(r.Likely)
	case r.High < 20:
		return "none, or a few"
	case twoDigits(r.Low) == twoDigits(r.High):
		return "about " + ui.Number(twoDigits(r.Low))
	}
	return ui.Number(twoDigits(r.Low)) + " to " + ui.Number(twoDigits(r.High))
}

func likelyRange(r *incident.Range) string {
	if text := rangeText(r); !strings.Contains(text, " to ") {
		return text
	}
	return fmt.Sprintf("about %s (%s to %s)", ui.Number(twoDigits(r.Likely)), ui.Number(twoDigits(r.Low)), ui.Number(twoDigits(r.High)))
}

// twoDigits leaves two digits: more would claim more than is known.
func twoDigits(n uint64) uint64 {
	unit := uint64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return (n + unit/2) / unit * unit
}

func (r *Report) composition() section {
	i := &r.Incident
	s := section{title: "What the table was made of"}
	if i.Before == nil {
		s.blocks = append(s.blocks, paragraph("The table was not read in this incident: its composition is unknown."))
		return s
	}
	a, b := i.Before, i.After
	t := &table{caption: "Shares of the table", head: []string{"Entries", "At " + timeOfDay(a.Time)}, right: []bool{false, true, true}}
	if b != nil {
		t.head = append(t.head, "At "+timeOfDay(b.Time))
	}
	row := func(name string, n func(*incident.Census) uint64) {
		cells := []string{name, policy.Percent(a.Share(n(a)))}
		if b != nil {
			cells = append(cells, policy.Percent(b.Share(n(b))))
		}
		t.rows = append(t.rows, cells)
	}
	row("Unanswered (half-open)", func(l *incident.Census) uint64 { return l.HalfOpen })
	row("Closed or closing", func(l *incident.Census) uint64 { return l.Closing })
	row("of these, in TIME_WAIT", func(l *incident.Census) uint64 { return l.TimeWait })
	row("Established", func(l *incident.Census) uint64 { return l.Established })
	row("of these, without a packet for more than a day", func(l *incident.Census) uint64 { return l.Stale })
	row("Protected from eviction (ASSURED)", func(l *incident.Census) uint64 { return l.Assured })
	row("Of this host with itself (loopback)", func(l *incident.Census) uint64 { return l.Loopback })
	s.blocks = append(s.blocks, block{table: t}, note("An entry can stand in several rows. "+examinedText(a, b)))
	s.blocks = append(s.blocks, r.talkerBlocks()...)
	return s
}

func examinedText(a, b *incident.Census) string {
	text := fmt.Sprintf("%s entries were examined", ui.Number(a.Seen))
	if b != nil {
		text = fmt.Sprintf("%s and %s entries were examined", ui.Number(a.Seen), ui.Number(b.Seen))
	}
	if a.Sampled || b != nil && b.Sampled {
		return text + "; where that is not the whole table, it is a random part of it."
	}
	return text + "."
}

// talkerBlocks lists the top talkers, as far as the record has them.
func (r *Report) talkerBlocks() []block {
	look := r.Incident.After
	if look == nil || look.Top == nil {
		look = r.Incident.Before
	}
	if look.Top != nil {
		t := talkersTable(look)
		if len(t.rows) == 0 {
			return []block{paragraph("No address and no port had 1 % of the entries.")}
		}
		return []block{
			paragraph("The largest shares at " + timeOfDay(look.Time) + ":"), {table: t},
			note("By the side that opened the connections. Addresses and ports with less than 1 % of the entries are left out."),
		}
	}
	samples := r.Incident.Cost.Samples
	if len(samples) < 4 {
		return []block{note("The log does not name the top talkers; ctwarden diagnose names them while such a load lasts.")}
	}
	sources, ports := map[string]int{}, map[string]int{}
	for n := range samples {
		sources[samples[n].Src.String()]++
		ports[fmt.Sprintf("%s/%d", protocol(samples[n].Proto), samples[n].DstPort)]++
	}
	text := fmt.Sprintf("Of the %d deleted entries recorded as examples, %s. That is a hint, not a measure.",
		len(samples), strings.Join(append(top(sources, "from", len(samples)), top(ports, "to port", len(samples))...), ", "))
	return []block{paragraph(text)}
}

// talkerShare is the share of a table from which a talker is named: in a scan,
// every address has one entry.
const talkerShare = conntrack.Permyriad(100)

// talkersTable lists those with the most entries.
func talkersTable(look *incident.Census) *table {
	t := &table{caption: "Top talkers", head: []string{"", "", "Entries", "Share"}, right: []bool{false, false, true, true}}
	list := func(what, key string, n uint64) {
		if look.Share(n) < talkerShare {
			return
		}
		t.add(what, clean(key), ui.Number(n), policy.Percent(look.Share(n)))
	}
	const most = 5
	for _, c := range look.Top.Sources[:min(most, len(look.Top.Sources))] {
		list("From", c.Key.String(), c.Count)
	}
	for _, c := range look.Top.Networks[:min(most, len(look.Top.Networks))] {
		list("From network", c.Key.String(), c.Count)
	}
	for _, c := range look.Top.Destinations[:min(most, len(look.Top.Destinations))] {
		list("To", c.Key.String(), c.Count)
	}
	for _, c := range look.Top.Ports[:min(most, len(look.Top.Ports))] {
		list("To port", c.Key.String(), c.Count)
	}
	return t
}

// top names what at least half of all have in common.
func top(counts map[string]int, what string, all int) []string {
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[name]; 2*n >= all {
			return []string{fmt.Sprintf("%d were %s %s", n, what, name)}
		}
	}
	return []string{fmt.Sprintf("there were %d different ones by \"%s\"", len(counts), what)}
}

func protocol(n uint8) string {
	switch n {
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 1:
		return "icmp"
	}
	return fmt.Sprintf("protocol %d", n)
}

// cost lists what was taken from connections.
func (r *Report) cost() section {
	i := &r.Incident
	s := section{title: "What it cost"}
	sum := i.Cost
	if len(sum.Deleted)+len(sum.Aged) == 0 {
		s.blocks = append(s.blocks, paragraph("No entry was changed: ctwarden deleted none and aged none."))
		return s
	}
	t := &table{caption: "Entries deleted or aged", head: []string{"Entries", "Deleted", "Aged (expire sooner)"}, right: []bool{false, true, true}}
	for _, class := range []policy.Class{policy.Unreplied, policy.Closing, policy.Established} {
		if d, a := sum.Deleted[class], sum.Aged[class]; d+a > 0 {
			t.add(sentence(class.String()), ui.Number(d), ui.Number(a))
		}
	}
	s.blocks = append(s.blocks, block{table: t},
		paragraph("The next packet of a deleted connection that was still alive creates a new entry; behind NAT the connection may break. "+
			"The next packet of an aged connection restores its full timeout."))
	if t := spared(&sum.Spared); len(t.rows) > 0 {
		s.blocks = append(s.blocks, paragraph("Examined and spared:"), block{table: t})
	}
	if len(sum.Samples) > 0 {
		s.blocks = append(s.blocks, paragraph("Some of the chosen entries:"), block{table: samples(sum.Samples)})
	}
	return s
}

func spared(counts *policy.Eligibilities) *table {
	t := &table{caption: "Entries that were spared", head: []string{"Why", "Entries"}, right: []bool{false, true}}
	for eligibility, n := range counts {
		if n > 0 {
			t.add(sparedReason(policy.Eligibility(eligibility)), ui.Number(n))
		}
	}
	return t
}

func samples(list []policy.Sample) *table {
	t := &table{caption: "Examples", head: []string{"Protocol", "From", "To", "Seconds left"}, right: []bool{false, false, false, true}}
	for n := range list {
		e := &list[n]
		t.add(protocol(e.Proto), fmt.Sprintf("%s port %d", e.Src, e.SrcPort), fmt.Sprintf("%s port %d", e.Dst, e.DstPort), ui.Number(uint64(e.Left)))
	}
	return t
}

func (r *Report) changed() section {
	i := &r.Incident
	s := section{title: "What is still changed, and how to undo it"}
	if len(i.Changed) == 0 {
		s.blocks = append(s.blocks, paragraph("Nothing: every kernel value is as it was before, or another program has changed it since."))
		return s
	}
	t := &table{caption: "Changed kernel values", head: []string{"Kernel value", "Before", "Now"}, right: []bool{false, true, true}}
	for n := range i.Changed {
		c := &i.Changed[n]
		t.add(c.Sysctl, ui.Number(c.Original), ui.Number(c.Written))
	}
	s.blocks = append(s.blocks, block{table: t},
		paragraph("These values were still changed at the end of the record. "+persistence(i)+" To undo all of it now, run ctwarden revert on that host, or:"),
		block{code: strings.Join(r.Undo, "\n"), about: "Undo"})
	return s
}

// persistence describes what becomes of the values by themselves.
func persistence(i *incident.Incident) string {
	var text []string
	limit := func(c incident.KernelChange) bool {
		return c.Sysctl == conntrack.SysctlMax || c.Sysctl == conntrack.SysctlBuckets
	}
	if slices.ContainsFunc(i.Changed, limit) {
		text = append(text, "A larger limit or hash does no harm; it stays until you undo it or reboot.")
	}
	if slices.ContainsFunc(i.Changed, func(c incident.KernelChange) bool { return !limit(c) }) {
		text = append(text, "ctwarden restores a shortened timeout step by step when the table has been calm for a while.")
	}
	return strings.Join(text, " ")
}

func (r *Report) fix() section {
	s := section{title: "The permanent fix"}
	s.blocks = append(s.blocks, paragraph("The changes of ctwarden are lost at the next boot. These files make them permanent. ctwarden does not install them: "+
		"read them, then write them with:"),
		block{code: "ctwarden recommend --incident " + ui.Quote(clean(r.Incident.ID)) + " --write DIR", about: "Write the files"})
	a := &r.Advice
	if len(a.Why) > 0 {
		s.blocks = append(s.blocks, block{list: a.Why})
	}
	for _, f := range a.Files {
		s.blocks = append(s.blocks, block{code: f.Text, about: "/etc/" + f.Path, note: f.About})
	}
	if len(a.Warnings) > 0 {
		s.blocks = append(s.blocks, paragraph("Before you install them:"), block{list: a.Warnings})
	}
	return s
}

func (r *Report) missing() section {
	i := &r.Incident
	s := section{title: "What this report does not know"}
	var list []string
	if i.Partial {
		list = append(list, "The log no longer holds the beginning of this incident.")
	}
	for _, gap := range i.Gaps {
		list = append(list, sentence(clean(gap))+".")
	}
	if i.Omitted > 0 {
		list = append(list, fmt.Sprintf("%d more decisions are left out here; ctwarden audit show --incident %s has them.", i.Omitted, ui.Quote(clean(i.ID))))
	}
	if len(list) > 0 {
		s.blocks = append(s.blocks, block{list: list})
	}
	return s
}
