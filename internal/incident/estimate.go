package incident

import (
	"math"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// An Estimate is what would have been lost had ctwarden done nothing. It is
// computed from the recorded course of the table: see Incident.Estimate.
type Estimate struct {
	// Known is true when there is an estimate; Why is why there is none.
	Known bool   `json:"known"`
	Why   string `json:"why,omitempty"`
	// NoRoom is how many connections would have found no room: refused, or
	// let in at the cost of another entry. Refused is the part of it whose
	// first packets would have been dropped. A client that tries again is not
	// counted again.
	NoRoom  Range `json:"no_room"`
	Refused Range `json:"refused"`
	// Max is the limit that the estimate assumes: the one before ctwarden
	// changed it.
	Max uint64 `json:"max,omitempty"`
}

// A Range is an estimate with its bounds.
type Range struct {
	Low    uint64 `json:"low"`
	Likely uint64 `json:"likely"`
	High   uint64 `json:"high"`
}

func (r *Range) include(n uint64) {
	r.Low, r.High = min(r.Low, n), max(r.High, n)
}

// A model is what is assumed of the entries.
type model struct {
	// halfOpen, closing and answered (but not ASSURED, as DNS is) are the
	// shares of the entries with a short life; speed is by how much faster they
	// go than by their timeouts.
	halfOpen, closing, answered, speed float64
	// unassured is the share that early drop could evict: on average, and the
	// least and the most that was seen.
	unassured, least, most float64
}

// Estimate plays the recorded arrivals against the limit that stood before,
// with no deletion and no shorter timeout.
//
// Arrivals are not recorded; they are what the table gained plus what left it:
// the entries that expired by themselves, by their lifetime, and those that
// were evicted or deleted, and the packets that were lost. The lifetime
// follows from what the census found: closing entries stay for time_wait,
// unreplied ones between the timeouts of UDP and SYN_SENT, replied ones that
// are not ASSURED for that of UDP, and the others longer than an incident.
// When the modelled table is full, early drop finds no victim with probability
// exp(-8*2*max/buckets*u), u being the share that is not ASSURED (early_drop in
// net/netfilter/nf_conntrack_core.c).
//
// The bounds come from halving and doubling the lifetime, and from the error of
// the method. How many of those without room would have been refused is less
// certain: the share u moves in an incident, and near the limit the kernel's gc
// evicts closing entries at a pace that is not modelled. So the lower bound of
// Refused takes all of those for evicted. Neither covers clients that behave
// otherwise when they are refused, nor the time after the incident.
func (i *Incident) Estimate() Estimate {
	e := Estimate{Known: true, Max: i.originalMax()}
	lost := i.Losses.Packets
	if i.Counts.Done <= i.Counts.Restored {
		e.Refused = Range{lost, lost, lost}
		lost += i.Losses.Evicted
		e.NoRoom = Range{lost, lost, lost}
		return e
	}
	if len(i.Curve) < 5 || e.Max == 0 {
		return Estimate{Why: "the log holds too few readings of the table"}
	}
	likely := i.censusModel()
	refused, evicted := i.simulate(likely)
	e.Refused = Range{refused, refused, refused}
	e.NoRoom = Range{refused + evicted, refused + evicted, refused + evicted}
	for _, life := range [...]float64{0.5, 1, 2} {
		for _, share := range [...]float64{likely.least, likely.unassured, likely.most} {
			refused, evicted := i.simulate(model{halfOpen: likely.halfOpen, closing: likely.closing, answered: likely.answered, speed: life, unassured: share})
			e.NoRoom.include(refused + evicted)
			e.Refused.include(refused)
			e.Refused.include(uint64(float64(refused) * (1 - i.Mix().Closing)))
		}
	}
	e.NoRoom.addMethodError()
	e.Refused.addMethodError()
	return e
}

// addMethodError widens the bounds by the error of the method itself, as the same loads
// on the simulator show it.
func (r *Range) addMethodError() {
	r.Low, r.High = uint64(float64(r.Low)*0.7), uint64(float64(r.High)*1.4)
}

// originalMax is the max before ctwarden changed it.
func (i *Incident) originalMax() uint64 {
	for n := range i.Decisions {
		d := &i.Decisions[n]
		if d.Outcome != nil && d.Outcome.OK && !d.Action.Would && d.Action.Type == policy.RaiseMax {
			return d.Outcome.Before
		}
	}
	return i.First.Max
}

// expiryRate is the share of the entries that go by themselves in a second, under
// these timeouts. Whether the unanswered are UDP or TCP is not recorded.
func (m *model) expiryRate(t *conntrack.Timeouts) float64 {
	unanswered := math.Sqrt(timeoutSeconds(t, conntrack.UDP, 30) * timeoutSeconds(t, conntrack.TCPSynSent, 120))
	return m.speed * (m.halfOpen/unanswered + m.closing/timeoutSeconds(t, conntrack.TCPTimeWait, 120) + m.answered/timeoutSeconds(t, conntrack.UDP, 30))
}

// censusModel is the model of the entries by the censuses. Without any, most
// are taken for closing, and a tenth could be evicted.
func (i *Incident) censusModel() model {
	m := model{least: 1, speed: 1}
	looks := 0.0
	for _, look := range [...]*Census{i.Before, i.After} {
		if look == nil || look.Seen == 0 {
			continue
		}
		looks++
		seen := float64(look.Seen)
		m.halfOpen += float64(look.HalfOpen) / seen
		m.closing += float64(look.Closing) / seen
		unassured := 1 - min(float64(look.Assured)/seen, 1)
		m.unassured += unassured
		m.answered += max(unassured-float64(look.HalfOpen)/seen-float64(look.Closing-min(look.TimeWait, look.Closing))/seen, 0)
		m.least, m.most = min(m.least, unassured), max(m.most, unassured)
	}
	if looks == 0 {
		return model{closing: 1, speed: 1, unassured: 0.1, most: 1}
	}
	m.halfOpen /= looks
	m.closing /= looks
	m.answered /= looks
	m.unassured /= looks
	return m
}

// timeoutSeconds is a timeout, or the kernel's own where it was not read.
func timeoutSeconds(t *conntrack.Timeouts, name conntrack.Timeout, kernel float64) float64 {
	if s := t[name]; s > 0 {
		return float64(s)
	}
	return kernel
}

// timeoutsAt returns the timeouts at a moment, as the acts before left them.
func (i *Incident) timeoutsAt(at policy.BootTime) conntrack.Timeouts {
	now := i.HostContext.Timeouts
	for n := range i.Decisions {
		d := &i.Decisions[n]
		if d.Outcome == nil || !d.Outcome.OK || d.Action.Would || d.At > at {
			continue
		}
		if t := d.Action.Type; (t == policy.ShortenTimeout || t == policy.RestoreTimeout) && d.Action.Knob < conntrack.NumTimeouts {
			now[d.Action.Knob] = uint32(min(d.Outcome.After, math.MaxUint32))
		}
	}
	return now
}

// simulate returns the packets that would have been refused, and the entries
// evicted.
func (i *Incident) simulate(m model) (packets, evicted uint64) {
	limit := float64(i.originalMax())
	if limit == 0 {
		return 0, 0
	}
	buckets := limit
	if b := i.First.Buckets; b > 0 {
		buckets = float64(b)
	}
	fails := math.Exp(-8 * 2 * limit / buckets * m.unassured)
	table := min(float64(i.First.Entries), limit)
	var lost, gone float64
	for n := 1; n < len(i.Curve); n++ {
		before, now := &i.Curve[n-1], &i.Curve[n]
		elapsed := time.Duration(now.At - before.At).Seconds()
		arrived := i.arrivals(before, now, &m)
		table = table*math.Exp(-m.expiryRate(&i.HostContext.Timeouts)*elapsed) + arrived
		if over := table - limit; over > 0 {
			lost += over * fails
			gone += over * (1 - fails)
			table = limit
		}
	}
	return uint64(math.Round(lost)), uint64(math.Round(gone))
}

// arrivals is how many connections came between two readings.
func (i *Incident) arrivals(before, now *Point, m *model) float64 {
	timeouts := i.timeoutsAt(before.At)
	left := m.expiryRate(&timeouts) * time.Duration(now.At-before.At).Seconds()
	mean := (float64(before.Entries) + float64(now.Entries)) / 2
	arrived := float64(now.Entries) - float64(before.Entries) + mean*left +
		float64(now.Lost-before.Lost) + float64(now.Evicted-before.Evicted)
	for n := range i.Decisions {
		d := &i.Decisions[n]
		if d.Outcome != nil && d.At > before.At && d.At <= now.At && d.Action.Type == policy.DeleteEntries {
			arrived += float64(d.Outcome.Changed)
		}
	}
	return max(arrived, 0)
}

// An Arrival is connections that came evenly within a stretch of time.
type Arrival struct {
	// At is the time since the first reading, For the length of the stretch.
	At, For time.Duration
	// Number is how many came.
	Number float64
}

// Arrivals returns what the estimate takes for the arrivals, in at most that
// many stretches.
func (i *Incident) Arrivals(most int) []Arrival {
	if len(i.Curve) < 2 || most < 1 {
		return nil
	}
	m := i.censusModel()
	least := time.Duration(i.Last.At-i.First.At) / time.Duration(most)
	var found []Arrival
	for n := 1; n < len(i.Curve); n++ {
		before, now := &i.Curve[n-1], &i.Curve[n]
		elapsed := time.Duration(now.At - before.At)
		came := i.arrivals(before, now, &m)
		if k := len(found); k > 0 && (found[k-1].For < least || k == most) {
			found[k-1].For += elapsed
			found[k-1].Number += came
			continue
		}
		found = append(found, Arrival{At: time.Duration(before.At - i.First.At), For: elapsed, Number: came})
	}
	return found
}

// A Mix is what the entries were, as shares that add up to 1.
type Mix struct{ HalfOpen, Closing, Living float64 }

// Mix returns what the censuses found; half each way without any.
func (i *Incident) Mix() Mix {
	var m Mix
	looks := 0.0
	for _, look := range [...]*Census{i.Before, i.After} {
		if look != nil && look.Seen > 0 {
			looks++
			m.HalfOpen += float64(look.HalfOpen) / float64(look.Seen)
			m.Closing += float64(look.Closing) / float64(look.Seen)
		}
	}
	if looks == 0 {
		return Mix{Closing: 0.5, Living: 0.5}
	}
	m.HalfOpen = min(m.HalfOpen/looks, 1)
	m.Closing = min(m.Closing/looks, 1-m.HalfOpen)
	m.Living = 1 - m.HalfOpen - m.Closing
	return m
}
