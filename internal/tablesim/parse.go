package tablesim

import (
	"fmt"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// Parse reads a scenario. Each line sets one thing, '#' begins a comment:
//
//	about    what this is, in words
//	memory   8GiB [available 6GiB]
//	kernel   6.1
//	max      65536                 default: what the kernel chooses
//	buckets  65536                 the same
//	timeout  tcp_timeout_time_wait 60
//	readonly max buckets timeouts entries
//	netns    web 4026532177
//	gc       20s                   when the gc comes by first, default 1m
//	phase    40%                   where the host stands in its fleet, default 0
//	run      10m
//	noise    10%
//	seed     1
//
//	start CLASS N [idle 30h] [in NETNS]
//	at 10s [for 60s]: CLASS 2000/s [to 5000/s] [lasting 5s] [in NETNS]
//	at 10s [every 1m for 1h]: EVENT
//
// A load without "for" goes on to the end. The classes are udp_unreplied,
// udp_replied, dns, syn, syn_recv, tcp_short, tcp, tcp_idle and clash; the
// events are
//
//	set max|buckets|TIMEOUT N       multiply max|buckets|TIMEOUT N
//	memory 512MiB                   pressure 25%
//	log_noise 100/s                 wall_clock -1h
//	boot_clock -10m                 reboot
//	unload                          reload
//	pause 10m                       resume
//
// Errors name the line. What String prints is read back as the same scenario.
func Parse(name, text string) (*Scenario, error) {
	p := parser{scenario: Scenario{Name: name}}
	for line := range strings.Lines(text) {
		p.line++
		line, _, _ = strings.Cut(line, "#")
		if err := p.parseLine(strings.TrimSpace(line)); err != nil {
			return nil, fmt.Errorf("scenario %s: line %d: %w", name, p.line, err)
		}
	}
	if err := p.finish(); err != nil {
		return nil, fmt.Errorf("scenario %s: %w", name, err)
	}
	return &p.scenario, nil
}

type parser struct {
	scenario Scenario
	line     int
	hasMax   bool
	seen     map[string]bool
	words    []string
}

func (p *parser) parseLine(line string) error {
	if line == "" {
		return nil
	}
	if len(line) > 500 {
		return fmt.Errorf("longer than 500 bytes")
	}
	key, rest, _ := strings.Cut(line, " ")
	if key == "about" {
		p.scenario.About = strings.TrimSpace(rest)
		return p.once(key)
	}
	p.words = strings.Fields(strings.Replace(rest, ":", " : ", 1))
	var err error
	switch key {
	case "start":
		err = p.parseStart()
	case "at":
		err = p.parseAt()
	case "netns":
		err = p.parseNetNS()
	case "timeout":
		err = p.parseTimeout()
	default:
		if err := p.once(key); err != nil {
			return err
		}
		err = p.parseMachine(key)
	}
	if err != nil {
		return err
	}
	if len(p.words) > 0 {
		return fmt.Errorf("%q is too much", p.words[0])
	}
	return nil
}

// once refuses a second line of the same kind.
func (p *parser) once(key string) error {
	if p.seen[key] {
		return fmt.Errorf("%s stands here a second time", key)
	}
	if p.seen == nil {
		p.seen = make(map[string]bool)
	}
	p.seen[key] = true
	return nil
}

func (p *parser) parseMachine(key string) error {
	s := &p.scenario
	m := &s.Machine
	var err error
	switch key {
	case "memory":
		m.Memory, err = p.size()
		if err == nil && p.accept("available") {
			m.Available, err = p.size()
		}
		if err == nil && m.Available > m.Memory {
			err = fmt.Errorf("more is available than there is")
		}
	case "kernel":
		err = m.Kernel.UnmarshalText([]byte(p.next()))
	case "max":
		p.hasMax = true
		m.Max, err = p.number(0, maxTableMax)
	case "buckets":
		m.Buckets, err = p.number(1, conntrack.MostBuckets)
	case "gc":
		m.GC, err = p.duration(time.Millisecond, 5*time.Minute)
	case "phase":
		m.Jitter, err = p.percent()
	case "run":
		s.Run, err = p.duration(time.Second, maxRun)
	case "noise":
		s.Noise, err = p.percent()
	case "seed":
		s.Seed, err = p.number(0, 1<<32-1)
	case "readonly":
		err = p.parseReadOnly()
	default:
		err = fmt.Errorf("unknown word %q", key)
	}
	return err
}

func (p *parser) parseReadOnly() error {
	for len(p.words) > 0 {
		word := p.next()
		part := PartMax
		for part <= PartEntries && part.String() != word {
			part <<= 1
		}
		if part > PartEntries {
			return fmt.Errorf("%q is none of max, buckets, timeouts, entries", word)
		}
		p.scenario.Machine.ReadOnly |= Parts(part)
	}
	return nil
}

func (p *parser) parseNetNS() error {
	m := &p.scenario.Machine
	name := p.next()
	if !isWord(name) || m.find(name) > 0 {
		return fmt.Errorf("%q can't be the name of another namespace", name)
	}
	inode, err := p.number(1, 1<<32-1)
	if err != nil {
		return err
	}
	if len(m.NetNS) == 64 {
		return fmt.Errorf("more than 64 namespaces")
	}
	m.NetNS = append(m.NetNS, NetNS{Name: name, Inode: uint32(inode)})
	return nil
}

func (p *parser) parseTimeout() error {
	t, err := conntrack.ParseTimeout(p.next())
	if err != nil {
		return err
	}
	seconds, err := p.number(1, maxTimeout)
	p.scenario.Machine.Timeouts[t] = uint32(seconds)
	return err
}

func (p *parser) parseStart() (err error) {
	var s Start
	if err = s.Class.UnmarshalText([]byte(p.next())); err != nil {
		return err
	}
	if s.Class == Clash {
		return fmt.Errorf("clash takes no room")
	}
	if s.Entries, err = p.number(1, maxEntries); err != nil {
		return err
	}
	if p.accept("idle") {
		if s.Idle, err = p.duration(time.Second, maxRun); err != nil {
			return err
		}
	}
	s.NetNS, err = p.in()
	p.scenario.Start = append(p.scenario.Start, s)
	return err
}

func (p *parser) parseAt() error {
	var l Load
	var e Event
	var err error
	if l.At, err = p.duration(0, maxRun); err != nil {
		return err
	}
	if p.accept("every") {
		if e.Every, err = p.duration(time.Second, maxRun); err != nil {
			return err
		}
	}
	if p.accept("for") {
		if l.For, err = p.duration(time.Millisecond, maxRun); err != nil {
			return err
		}
	}
	if !p.accept(":") {
		return fmt.Errorf("want a colon, have %q", p.next())
	}
	word := p.next()
	if l.Class.UnmarshalText([]byte(word)) == nil {
		if e.Every != 0 {
			return fmt.Errorf("a load has no every")
		}
		return p.parseLoad(l)
	}
	e.At, e.For = l.At, l.For
	if (e.Every == 0) != (e.For == 0) {
		return fmt.Errorf("an event has every and for, or neither")
	}
	return p.parseEvent(e, word)
}

func (p *parser) parseLoad(l Load) (err error) {
	if l.Rate, err = p.rate(); err != nil {
		return err
	}
	l.To = l.Rate
	if p.accept("to") {
		if l.To, err = p.rate(); err != nil {
			return err
		}
	}
	l.Lasting = l.Class.Duration()
	if p.accept("lasting") {
		if l.Lasting == 0 {
			return fmt.Errorf("%s has no duration", l.Class)
		}
		if l.Lasting, err = p.duration(time.Millisecond, maxRun); err != nil {
			return err
		}
	}
	l.NetNS, err = p.in()
	p.scenario.Loads = append(p.scenario.Loads, l)
	return err
}

func (p *parser) parseEvent(e Event, word string) (err error) {
	e.Type = SetKnob
	for e.Type < numEventTypes && eventTypeNames[e.Type] != word {
		e.Type++
	}
	switch e.Type {
	case SetKnob, MultiplyKnob:
		if e.Knob, err = p.knob(); err == nil {
			e.Value, err = p.number(0, maxTableMax)
		}
	case SetMemory:
		e.Value, err = p.size()
	case SetPressure:
		var share conntrack.Permyriad
		share, err = p.percent()
		e.Value = uint64(share)
	case LogNoise:
		var lines float64
		lines, err = p.rate()
		e.Value = uint64(lines)
	case StepWall, StepBoot:
		e.Span, err = p.duration(-maxRun, maxRun)
	case Pause:
		e.Span, err = p.duration(time.Second, maxRun)
	case Reboot, Unload, Reload, Resume:
	default:
		return fmt.Errorf("%q is neither a class nor an event", word)
	}
	p.scenario.Events = append(p.scenario.Events, e)
	return err
}

// finish checks what takes more than a single line.
func (p *parser) finish() error {
	s := &p.scenario
	m := &s.Machine
	switch {
	case m.Memory == 0:
		return fmt.Errorf("memory is missing")
	case m.Kernel == Release{}:
		return fmt.Errorf("kernel is missing")
	case s.Run == 0:
		return fmt.Errorf("run is missing")
	}
	if m.Buckets == 0 {
		m.Buckets = m.Kernel.buckets(m.Memory)
	}
	m.Buckets = conntrack.RoundBuckets(m.Buckets)
	if !p.hasMax {
		m.Max = m.Kernel.max(m.Buckets)
	}
	if m.Max == 0 && !m.Kernel.zeroIsUnlimited() {
		return fmt.Errorf("kernel %s refuses max 0", m.Kernel)
	}
	if m.Available == 0 {
		m.Available = m.Memory / 4 * 3
	}
	for i := range s.Loads {
		l := &s.Loads[i]
		if l.At >= s.Run {
			return fmt.Errorf("a load begins at %s, after the end", l.At)
		}
		if l.For == 0 {
			l.For = s.Run - l.At
		}
	}
	return nil
}
