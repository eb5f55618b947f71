package incident

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// fields are those that many records have. The slices are parts of the line.
type fields struct {
	Incident string
	NetNS    uint32
	Level    policy.Level
	Cause    policy.Cause
	Held     policy.Hold
	Text     string
	Reason   string
	Moment   policy.Moment
	Entries  uint64
	Max      uint64
	Count    uint64
	OK       bool
	Foreign  bool
	Before   uint64
	After    uint64

	action, actions, observation, budget, result, after []byte
}

// read reads the fields of a line. An unknown level, cause or hold of a later
// version is the zero one.
func (f *fields) read(line []byte) error {
	return eachField(line, func(name, value []byte) error {
		switch string(name) {
		case "incident":
			f.Incident = unquoted(value)
		case "text":
			f.Text = unquoted(value)
		case "reason":
			f.Reason = unquoted(value)
		case "netns":
			f.NetNS = uint32(min(number(value), math.MaxUint32))
		case "entries":
			f.Entries = number(value)
		case "max":
			f.Max = number(value)
		case "count":
			f.Count = number(value)
		case "level":
			_ = f.Level.UnmarshalText([]byte(unquoted(value)))
		case "cause":
			_ = f.Cause.UnmarshalText([]byte(unquoted(value)))
		case "held":
			_ = f.Held.UnmarshalText([]byte(unquoted(value)))
		case "moment":
			return f.Moment.UnmarshalText([]byte(unquoted(value)))
		case "ok":
			f.OK = string(value) == "true"
		case "foreign":
			f.Foreign = string(value) == "true"
		case "before":
			f.Before = number(value)
		case "after":
			f.After, f.after = number(value), value
		case "result":
			f.result = value
		case "action":
			f.action = value
		case "actions":
			f.actions = value
		case "observation":
			f.observation = value
		case "budget":
			f.budget = value
		}
		return nil
	})
}

// number returns a whole number, 0 for what is none: some records have another
// thing by the same name.
func number(value []byte) uint64 {
	n, err := strconv.ParseUint(string(value), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// startFields are what is wanted of the record of a start.
type startFields struct {
	Version string `json:"version"`
	Kernel  string `json:"kernel"`
	Boot    string `json:"boot_id"`
	Mode    string `json:"mode"`
}

// absorb takes one event in.
func (g *Grouper) absorb(e Event) error {
	switch e.Kind {
	case "sample":
		return g.sampled(e)
	case "start":
		return g.started(e)
	case "config":
		return g.configured(e)
	case "stop", "missed":
		return nil
	}
	var f fields
	if err := f.read(e.Line); err != nil {
		return err
	}
	switch e.Kind {
	case "pause", "resume", "revert":
		return g.person(e, &f)
	case "gap":
		g.gap(&e, "records are missing from the log here: see ctwarden audit verify")
		return nil
	}
	if f.Incident == "" && e.Kind == "outcome" {
		return g.restored(e, &f)
	}
	if i := g.belongs(&f, &e); i != nil {
		return g.grow(i, e, &f)
	}
	return nil
}

// grow takes an event into the incident that it belongs to.
func (g *Grouper) grow(i *Incident, e Event, f *fields) error {
	i.touch(&e)
	i.moment(f.Moment)
	i.Level = max(i.Level, f.Level)
	switch e.Kind {
	case "incident.open", "incident.close":
		g.bounded(i, e, f)
	case "level":
		i.rose(g, e, f)
	case "signal":
		i.Lines += max(f.Count, 1)
		g.tell(i, Decision{Seq: e.Seq, Time: e.Time, Kind: Heard, Text: f.Text})
	case "census":
		return g.looked(i, e)
	case "plan", "hold", "breaker":
		return g.planned(i, e, f)
	case "outcome":
		return g.outcome(i, e, f)
	case "verdict":
		return g.judged(i, e, f)
	case "override":
		return g.overruled(i, e, f)
	}
	return nil
}

// tell adds a decision to an incident that is kept whole.
func (g *Grouper) tell(i *Incident, d Decision) *Decision {
	if g.Depth != Whole {
		return nil
	}
	return i.decided(d)
}

// bounded begins or ends an incident.
func (g *Grouper) bounded(i *Incident, e Event, f *fields) {
	p := Point{Time: e.Time, At: f.Moment, Entries: f.Entries, Max: f.Max, Level: i.Level}
	if e.Kind == "incident.open" {
		i.Partial = false
		g.told(i, p, nil)
		return
	}
	p.Level = policy.Calm
	g.told(i, p, nil)
	i.Status = Closed
}

func (i *Incident) rose(g *Grouper, e Event, f *fields) {
	g.tell(i, Decision{Seq: e.Seq, Time: e.Time, Kind: Rose, Level: f.Level, Text: f.Text})
}

func (g *Grouper) sampled(e Event) error {
	if g.Depth == Outline {
		return g.outlined(e)
	}
	s := &g.samples
	if err := s.UnmarshalJSON(e.Line); err != nil {
		return err
	}
	i := g.belongs(&fields{Incident: s.Incident, NetNS: s.NetNS}, &e)
	if i == nil || len(s.Rows) == 0 {
		return nil
	}
	i.touch(&e)
	if i.settled {
		return nil
	}
	i.sampled.most = g.read()
	for n := range s.Rows {
		p, counters := s.point(n)
		i.Level = max(i.Level, p.Level)
		i.sampled.add(p, &counters)
	}
	return nil
}

// outlined takes a record of samples in without reading them.
func (g *Grouper) outlined(e Event) error {
	var f fields
	if err := f.read(e.Line); err != nil {
		return err
	}
	if i := g.belongs(&f, &e); i != nil {
		i.touch(&e)
	}
	return nil
}

// told adds to the course by what else was recorded.
func (g *Grouper) told(i *Incident, p Point, c *conntrack.Counters) {
	if g.Depth != Outline && !i.settled {
		i.told.most = g.read()
		i.told.add(p, c)
	}
}

// points is how many points of a curve there are at most in the end.
func (g *Grouper) points() int {
	if g.Depth == Whole {
		return curvePoints
	}
	return sparkPoints
}

// read is how many points are kept while more may come: those of a short curve
// are joined less unevenly if they are joined once more in the end.
func (g *Grouper) read() int {
	if g.Depth == Whole {
		return curvePoints
	}
	return 2 * sparkPoints
}

// started takes the start of a daemon in: a restart in the same boot changes
// nothing but its counters, another boot ends everything.
func (g *Grouper) started(e Event) error {
	var s startFields
	if err := json.Unmarshal(e.Line, &s); err != nil {
		return err
	}
	another := g.daemon.Boot != "" && s.Boot != g.daemon.Boot
	g.daemon = s
	for _, i := range g.open {
		i.sampled.restart()
		i.told.restart()
		switch {
		case i.Status != Open:
		case another || i.boot != "" && i.boot != s.Boot:
			i.Status = Interrupted
		default:
			i.Tally.Restarts++
			i.touch(&e)
			g.tell(i, Decision{Seq: e.Seq, Time: e.Time, Kind: Restarted, Text: "ctwarden was started again"})
		}
	}
	if another {
		clear(g.knobs)
	}
	return nil
}

// configured remembers the limits in force. A reload that was refused names the
// old ones.
func (g *Grouper) configured(e Event) error {
	return eachField(e.Line, func(name, value []byte) error {
		if string(name) == "limits" && !bytes.Equal(value, g.limits) {
			g.limits = bytes.Clone(value)
		}
		return nil
	})
}

// person tells every open incident what a person asked for.
func (g *Grouper) person(e Event, f *fields) error {
	text := map[string]string{
		"pause": "a person paused ctwarden", "resume": "a person told ctwarden to go on",
		"revert": "a person had the kernel's values put back",
	}[e.Kind]
	switch {
	case f.Text != "":
		text = f.Text
	case f.Reason != "":
		text += ": " + f.Reason
	}
	for _, i := range g.open {
		if i.Status == Open {
			i.touch(&e)
			g.tell(i, Decision{Seq: e.Seq, Time: e.Time, Kind: Person, Text: text})
		}
	}
	var r struct {
		Outcomes []policy.Outcome `json:"outcomes"`
	}
	if err := json.Unmarshal(e.Line, &r); err != nil {
		return err
	}
	for n := range r.Outcomes {
		g.knobs.wrote(&r.Outcomes[n], nil, e.Time)
	}
	return nil
}

// restored takes an act outside of any incident in: the giving back of a
// timeout, or the hash made larger in calm.
func (g *Grouper) restored(e Event, f *fields) error {
	out, err := f.outcome()
	if err == nil {
		g.knobs.wrote(&out, nil, e.Time)
	}
	return err
}
