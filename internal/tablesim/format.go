package tablesim

import (
	"fmt"
	"strings"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// String returns the scenario as Parse reads it.
func (s *Scenario) String() string {
	var b strings.Builder
	if s.About != "" {
		fmt.Fprintf(&b, "about %s\n", s.About)
	}
	m := &s.Machine
	fmt.Fprintf(&b, "memory %s available %s\nkernel %s\nmax %d\nbuckets %d\n",
		formatSize(m.Memory), formatSize(m.Available), m.Kernel, m.Max, m.Buckets)
	for t := conntrack.TCPSynSent; t < conntrack.NumTimeouts; t++ {
		if m.Timeouts[t] != 0 {
			fmt.Fprintf(&b, "timeout %s %d\n", t, m.Timeouts[t])
		}
	}
	if m.ReadOnly != 0 {
		b.WriteString("readonly")
		for part := PartMax; part <= PartEntries; part <<= 1 {
			if m.ReadOnly.Has(part) {
				b.WriteString(" " + part.String())
			}
		}
		b.WriteString("\n")
	}
	for _, n := range m.NetNS {
		fmt.Fprintf(&b, "netns %s %d\n", n.Name, n.Inode)
	}
	if m.GC != 0 {
		fmt.Fprintf(&b, "gc %s\n", m.GC)
	}
	if m.Jitter != 0 {
		fmt.Fprintf(&b, "phase %s\n", formatShare(uint64(m.Jitter)))
	}
	fmt.Fprintf(&b, "run %s\n", s.Run)
	if s.Noise != 0 {
		fmt.Fprintf(&b, "noise %s\n", formatShare(uint64(s.Noise)))
	}
	if s.Seed != 0 {
		fmt.Fprintf(&b, "seed %d\n", s.Seed)
	}
	for i := range s.Start {
		fmt.Fprintf(&b, "start %s\n", &s.Start[i])
	}
	for i := range s.Loads {
		l := &s.Loads[i]
		fmt.Fprintf(&b, "at %s for %s: %s\n", l.At, l.For, l)
	}
	for i := range s.Events {
		e := &s.Events[i]
		fmt.Fprintf(&b, "at %s", e.At)
		if e.Every != 0 {
			fmt.Fprintf(&b, " every %s for %s", e.Every, e.For)
		}
		fmt.Fprintf(&b, ": %s\n", e)
	}
	return b.String()
}

// String returns the start as it stands in a scenario.
func (s *Start) String() string {
	text := fmt.Sprintf("%s %d", s.Class, s.Entries)
	if s.Idle != 0 {
		text += " idle " + s.Idle.String()
	}
	return text + in(s.NetNS)
}

// String returns what arrives, as it stands in a scenario after the colon.
func (l *Load) String() string {
	text := fmt.Sprintf("%s %s", l.Class, formatRate(l.Rate))
	if l.To != l.Rate {
		text += " to " + formatRate(l.To)
	}
	if l.Lasting != l.Class.Duration() {
		text += " lasting " + l.Lasting.String()
	}
	return text + in(l.NetNS)
}

// String returns what happens, as it stands in a scenario after the colon.
func (e *Event) String() string {
	switch e.Type {
	case SetKnob, MultiplyKnob:
		return fmt.Sprintf("%s %s %d", e.Type, e.Knob, e.Value)
	case SetMemory:
		return fmt.Sprintf("%s %s", e.Type, formatSize(e.Value))
	case SetPressure:
		return fmt.Sprintf("%s %s", e.Type, formatShare(e.Value))
	case LogNoise:
		return fmt.Sprintf("%s %d/s", e.Type, e.Value)
	case StepWall, StepBoot, Pause:
		return fmt.Sprintf("%s %s", e.Type, e.Span)
	}
	return e.Type.String()
}

func in(netns string) string {
	if netns == "" {
		return ""
	}
	return " in " + netns
}
