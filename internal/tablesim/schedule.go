package tablesim

import (
	"math"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A schedule plays a scenario on a host: it lets time pass and applies each
// event of the scenario at its time.
type schedule struct {
	scenario *Scenario
	host     *Host
	// loads is how many loads have begun (they are sorted), events when each
	// event is due next.
	loads  []time.Duration
	events []time.Duration
	// onEvent is called for every event.
	onEvent func(text string, e *Event)
}

const never = time.Duration(math.MaxInt64)

func newSchedule(s *Scenario) *schedule {
	c := &schedule{scenario: s, host: NewHost(s), onEvent: func(string, *Event) {}}
	for i := range s.Loads {
		c.loads = append(c.loads, s.Loads[i].At)
	}
	for i := range s.Events {
		c.events = append(c.events, s.Events[i].At)
	}
	return c
}

// next is when something happens next.
func (c *schedule) next() time.Duration {
	next := never
	for _, at := range c.loads {
		next = min(next, at)
	}
	for _, at := range c.events {
		next = min(next, at)
	}
	return next
}

// advance lets d pass, and returns early when the kernel logs a full table.
func (c *schedule) advance(d time.Duration) {
	end := min(c.host.clock+d, c.scenario.Run)
	c.runDue()
	for c.host.clock < end {
		step := min(end, c.next()) - c.host.clock
		if left := c.host.Advance(step); left > 0 {
			return
		}
		c.runDue()
	}
}

// runDue does what is due.
func (c *schedule) runDue() {
	now := c.host.clock
	for i, at := range c.loads {
		if at <= now {
			l := &c.scenario.Loads[i]
			c.loads[i] = never
			c.host.Begin(l)
			c.onEvent(l.String()+" for "+l.For.String(), nil)
		}
	}
	for i, at := range c.events {
		if at > now {
			continue
		}
		e := &c.scenario.Events[i]
		c.events[i] = never
		if again := at + e.Every; e.Every > 0 && again <= e.At+e.For {
			c.events[i] = again
		}
		c.host.applyEvent(e)
		c.onEvent(e.String(), e)
	}
}

// applyEvent applies the event to the host.
func (h *Host) applyEvent(e *Event) {
	switch e.Type {
	case SetKnob:
		h.Set(e.Knob, e.Value)
	case MultiplyKnob:
		h.Set(e.Knob, min(h.Get(e.Knob)*e.Value, math.MaxInt32))
	case SetMemory:
		h.available = e.Value
	case SetPressure:
		h.pressure = conntrack.Permyriad(e.Value)
	case LogNoise:
		h.logNoise = e.Value
	case StepWall:
		h.wall += e.Span
	case StepBoot:
		// No clock that counts from boot goes back to before it.
		h.booted = min(h.booted-e.Span, h.clock-bootUptime)
	case Reboot:
		h.booted = h.clock - bootUptime
		h.absent = false
		h.boot()
	case Unload:
		h.absent = true
	case Reload:
		h.absent = false
		h.boot()
	}
}

// bootUptime is how long a host has been up when ctwarden starts.
const bootUptime = 20 * time.Second
