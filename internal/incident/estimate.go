package incident

import (
	"math"
	"time"

	"github.com/ctwarden/ctwarden/internal/nfct"
	"github.com/ctwarden/ctwarden/policy"
)

// An Estimate says what would have been lost had ctwarden done nothing. It is
// computed from the recorded course of the table: see Incident.Estimate.
type Estimate struct {
	// Known says that there is an estimate; Why is why there is none.
	Known bool   `json:"known"`
	Why   string `json:"why,omitempty"`
	// Packets is the number of first packets of connections that would have
	// been refused, Evicted that of entries that the kernel would have
	// dropped early instead. A client that tries again is not counted again.
	Packets Range `json:"packets"`
	Evicted Range `json:"evicted"`
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

func (r *Range) widen(n uint64) {
	r.Low, r.High = min(r.Low, n), max(r.High, n)
}

// A model is what is assumed of the entries.
type model struct {
	// leaving is the share of the entries that go by themselves in a second.
	leaving float64
	// unassured is the share that early drop could evict.
	unassured float64
}

// Estimate plays the recorded arrivals against the limit that stood before,
// with no deletion and no shorter timeout.
//
// Arrivals are not recorded; they are what the table gained plus what left it:
// the entries that expired by themselves, by their lifetime, and those that
// were evicted or deleted, and the packets that were lost. The lifetime
// follows from what the census found: closing entries live for time_wait,
// unreplied ones between the timeouts of UDP and SYN_SENT, and the others
// longer than an incident. When the modelled table is full, early drop finds no
// victim with probability exp(-8*2*max/buckets*u), u being the share that is
// not ASSURED (early_drop in net/netfilter/nf_conntrack_core.c).
//
// The bounds come from halving and doubling the lifetime, and from a share u a
// fifth smaller and larger. They do not cover clients that behave otherwise
// when they are refused.
func (i *Incident) Estimate() Estimate {
	if i.Tally.Done <= i.Tally.Back {
		same := Range{i.Losses.Packets, i.Losses.Packets, i.Losses.Packets}
		evicted := Range{i.Losses.Evicted, i.Losses.Evicted, i.Losses.Evicted}
		return Estimate{Known: true, Packets: same, Evicted: evicted, Max: i.limit()}
	}
	if len(i.Curve) < 5 {
		return Estimate{Why: "the log holds too few readings of the table"}
	}
	e := Estimate{Known: true, Max: i.limit()}
	likely := i.likely()
	packets, evicted := i.play(likely)
	e.Packets = Range{packets, packets, packets}
	e.Evicted = Range{evicted, evicted, evicted}
	for _, life := range [...]float64{0.5, 1, 2} {
		for _, share := range [...]float64{0.8, 1, 1.2} {
			packets, evicted := i.play(model{likely.leaving * life, min(likely.unassured*share, 1)})
			e.Packets.widen(packets)
			e.Evicted.widen(evicted)
		}
	}
	return e
}

// limit is the max before ctwarden changed it.
func (i *Incident) limit() uint64 {
	for n := range i.Decisions {
		d := &i.Decisions[n]
		if d.Outcome != nil && d.Outcome.OK && !d.Action.Would && d.Action.Type == policy.RaiseMax {
			return d.Outcome.Before
		}
	}
	return i.First.Max
}

// likely is what the looks into the table say of its entries. Without any, one
// in a hundred goes in a second, and a tenth could be evicted.
func (i *Incident) likely() model {
	var m model
	looks := 0.0
	for _, look := range [...]*Look{i.Before, i.After} {
		if look == nil || look.Seen == 0 {
			continue
		}
		looks++
		seen := float64(look.Seen)
		unreplied := math.Sqrt(i.seconds(nfct.UDP, 30) * i.seconds(nfct.TCPSynSent, 120))
		m.leaving += float64(look.HalfOpen)/seen/unreplied + float64(look.Closing)/seen/i.seconds(nfct.TCPTimeWait, 120)
		m.unassured += 1 - min(float64(look.Assured)/seen, 1)
	}
	if looks == 0 {
		return model{leaving: 0.01, unassured: 0.1}
	}
	m.leaving /= looks
	m.unassured /= looks
	return m
}

// seconds is a timeout as it was before the incident, or the kernel's own.
func (i *Incident) seconds(t nfct.Timeout, kernel float64) float64 {
	if s := i.Scene.Timeouts[t]; s > 0 {
		return float64(s)
	}
	return kernel
}

// play returns the packets that would have been refused, and the entries
// evicted.
func (i *Incident) play(m model) (packets, evicted uint64) {
	limit := float64(i.limit())
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
		arrived := i.arrivals(before, now, m.leaving*elapsed)
		table = table*math.Exp(-m.leaving*elapsed) + arrived
		if over := table - limit; over > 0 {
			lost += over * fails
			gone += over * (1 - fails)
			table = limit
		}
	}
	return uint64(math.Round(lost)), uint64(math.Round(gone))
}

// arrivals is how many connections came between two readings, when a share of
// the entries left by themselves.
func (i *Incident) arrivals(before, now *Point, left float64) float64 {
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
	m := i.likely()
	least := time.Duration(i.Last.At-i.First.At) / time.Duration(most)
	var found []Arrival
	for n := 1; n < len(i.Curve); n++ {
		before, now := &i.Curve[n-1], &i.Curve[n]
		elapsed := time.Duration(now.At - before.At)
		came := i.arrivals(before, now, m.leaving*elapsed.Seconds())
		if k := len(found); k > 0 && (found[k-1].For < least || k == most) {
			found[k-1].For += elapsed
			found[k-1].Number += came
			continue
		}
		found = append(found, Arrival{At: time.Duration(before.At - i.First.At), For: elapsed, Number: came})
	}
	return found
}

// A Mix says what the entries were, as shares that add up to 1.
type Mix struct{ HalfOpen, Closing, Living float64 }

// Mix returns what the looks into the table found; half each way without any.
func (i *Incident) Mix() Mix {
	var m Mix
	looks := 0.0
	for _, look := range [...]*Look{i.Before, i.After} {
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
