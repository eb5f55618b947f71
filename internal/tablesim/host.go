package tablesim

import (
	"cmp"
	"math/rand/v2"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// A Host is a simulated machine: its namespaces' tables, and what they share.
// Make one with NewHost. Time passes only in Advance.
type Host struct {
	machine Machine
	clock   time.Duration // since the scenario began
	booted  time.Duration // when it booted, on that clock
	wall    time.Duration // by how much the wall clock was stepped
	absent  bool

	max, buckets uint64
	available    uint64
	pressure     conntrack.Permyriad

	tables []table // the first is the host's own
	loads  []arrivals
	begun  uint64
	seed   uint64
	noise  conntrack.Permyriad

	kmsg rateLimiter
	// Other users of the shared log limiter, in lines a second.
	logNoise   uint64
	gc         gcWorker
	carry      carry
	census     lastCensus
	losses     Losses
	worstStall time.Duration
}

// A lastCensus is the last census.
type lastCensus struct {
	at      policy.BootTime
	summary census.Summary
}

// Losses are what the load lost.
type Losses struct {
	// Full counts packets dropped because the table was full, NoMemory those
	// for which the kernel had no memory, Chains those whose hash chain was
	// too long, Clash those that could not be inserted for another reason.
	Full     uint64 `json:"full"`
	NoMemory uint64 `json:"no_memory,omitempty"`
	Chains   uint64 `json:"chains,omitempty"`
	Clash    uint64 `json:"clash,omitempty"`
	// EarlyDropped counts entries that the kernel evicted for a new one, and
	// Collected those that its gc evicted because the table was full.
	EarlyDropped uint64 `json:"early_dropped,omitempty"`
	EvictedByGC  uint64 `json:"collected,omitempty"`
}

// Packets is the number of packets lost because the table or the memory was full.
func (l Losses) Packets() uint64 { return l.Full + l.NoMemory + l.Chains }

// uptime is how long a host has been up when a scenario begins.
const uptime = time.Hour

// maxStep is the longest stretch of time that is modelled at once.
const maxStep = time.Second

// minStep is the one around the moment that a table fills.
const minStep = 50 * time.Millisecond

// NewHost returns a host of this make, up for an hour, whose tables hold the
// entries of Start.
func NewHost(s *Scenario) *Host {
	h := &Host{
		machine: s.Machine.filled(), booted: -uptime,
		seed: s.Seed, noise: s.Noise,
	}
	h.boot()
	for i := range s.Start {
		h.preload(&s.Start[i])
	}
	return h
}

// boot gives the host empty tables and the values of its configuration.
func (h *Host) boot() {
	m := &h.machine
	h.max, h.buckets, h.available, h.pressure = m.Max, m.Buckets, m.Available, 0
	h.tables = make([]table, 1+len(m.NetNS))
	for i := range h.tables {
		h.tables[i].timeouts = conntrack.DefaultTimeouts()
		if i > 0 {
			h.tables[i].netns = m.NetNS[i-1].Inode
		}
	}
	for t, seconds := range m.Timeouts {
		if seconds != 0 {
			h.tables[0].timeouts[t] = seconds
		}
	}
	h.kmsg, h.gc, h.census = rateLimiter{}, gcWorker{}, lastCensus{}
	h.gc.next = h.clock + cmp.Or(m.GC, gcFirst)
}

// Now is the moment on the host's clock.
func (h *Host) Now() policy.BootTime { return policy.BootTime(h.clock - h.booted) }

// preload fills a table with the entries of Start.
func (h *Host) preload(s *Start) {
	t := &h.tables[h.machine.find(s.NetNS)]
	k, span := s.Class.firstKind(), s.Class.Duration()
	live := s.Class == TCP || s.Class == UDPReplied
	if !live {
		if s.Class == TCPShort {
			k = k.after()
		}
		span = t.lifetime(k)
	}
	t.counts[k] += s.Entries
	// Idle entries fell silent together; the others at an even pace.
	c := cohort{n: s.Entries, last: h.clock - span, expires: h.clock, width: span}
	if s.Idle > 0 {
		c = cohort{n: s.Entries, last: h.clock - s.Idle, expires: h.clock + max(span-s.Idle, 0)}
	}
	t.queue(k, live, span).insert(c)
}

// Begin lets a load arrive from now on.
func (h *Host) Begin(l *Load) {
	h.begun++
	h.loads = append(h.loads, arrivals{load: *l, table: h.machine.find(l.NetNS), begin: h.clock, id: h.begun})
}

// Entries sums the entries of all namespaces: they share one hash.
func (h *Host) entries() uint64 {
	var n uint64
	for i := range h.tables {
		n += h.tables[i].entries()
	}
	return n
}

// Advance lets d pass. It returns early, with what is left of d, when the
// kernel logs that a table is full.
func (h *Host) Advance(d time.Duration) (left time.Duration) {
	for d > 0 {
		step := min(d, maxStep)
		if step > minStep && h.fills(step) {
			step = minStep
		}
		d -= step
		if h.pass(step) {
			return d
		}
	}
	return 0
}

// fills reports whether some table may pass from not full to full within step.
func (h *Host) fills(step time.Duration) bool {
	if h.max == 0 || h.absent {
		return false
	}
	for i := range h.tables {
		n := h.tables[i].entries()
		if n < h.max && n+h.expected(i, step) > h.max {
			return true
		}
	}
	return false
}

// pass lets one stretch of time pass, and reports whether a line was logged.
func (h *Host) pass(step time.Duration) (logged bool) {
	from := h.clock
	h.clock += step
	if h.absent {
		return false
	}
	for i := range h.tables {
		h.tables[i].expire(h.clock)
	}
	h.runGC(step)
	noise := h.logNoise * uint64(step) / uint64(time.Second)
	var refused uint64
	for i := range h.tables {
		before := h.tables[i].counters.FullDrops()
		h.arrive(i, from, step)
		refused = h.tables[i].counters.FullDrops() - before
		if h.memoryExhausted() {
			// A failed allocation is not logged.
			refused = 0
		}
		lines := h.kmsg.allow(h.clock, refused, noise)
		noise = 0
		if lines > 0 {
			h.addLogged(i, lines)
			logged = true
		}
	}
	return logged
}

// addLogged puts table full lines where a reader of the log would: without a number
// they are taken for the host's own.
func (h *Host) addLogged(i int, lines uint32) {
	if h.machine.Kernel.namesNetNS() {
		h.tables[i].full += lines
		return
	}
	h.tables[0].full += lines
}

// arrive brings the connections that arrive in a table from from on, within
// step.
func (h *Host) arrive(i int, from, step time.Duration) {
	t := &h.tables[i]
	var total uint64
	for j := range h.loads {
		a := &h.loads[j]
		a.now = 0
		if a.table == i {
			a.now = a.until(h, from+step)
			total += a.now
		}
	}
	// In parts, so that what arrives first can be evicted by what comes last.
	part := max(h.max/16, 256)
	for done := uint64(0); done < total; done += min(part, total-done) {
		end := min(done+part, total)
		for j := range h.loads {
			a := &h.loads[j]
			if a.table != i || a.now == 0 {
				continue
			}
			n := scale(a.now, end, total) - scale(a.now, done, total)
			if n > 0 {
				h.admit(t, &a.load, n, from, step)
			}
		}
	}
	h.loads = finished(h.loads, h.clock, i)
}

// finished drops the loads of a table that are over.
func finished(loads []arrivals, now time.Duration, table int) []arrivals {
	kept := loads[:0]
	for i := range loads {
		if loads[i].table != table || now < loads[i].begin+loads[i].load.For {
			kept = append(kept, loads[i])
		}
	}
	return kept
}

// An arrivals is a load that arrives.
type arrivals struct {
	load  Load
	table int
	begin time.Duration
	id    uint64
	// arrived is how many have arrived, now how many do in this stretch.
	arrived, now uint64
	// second is the last second that the noise was drawn for, factor what it
	// was, and before how many had come by its begin.
	second int64
	factor float64
	before float64
}

// until counts the connections that arrive by the moment to. How many have
// come by a moment does not depend on the steps that lead there.
func (a *arrivals) until(h *Host, to time.Duration) uint64 {
	end := min(to-a.begin, a.load.For)
	for next := time.Duration(a.second+1) * time.Second; next < end; next += time.Second {
		a.before = a.total(h, next)
		a.second++
		a.factor = 0
	}
	total := uint64(a.total(h, end))
	if total <= a.arrived {
		return 0
	}
	n := total - a.arrived
	a.arrived = total
	return n
}

// total is how many have come by the age of the load, which lies within the
// present second.
func (a *arrivals) total(h *Host, age time.Duration) float64 {
	start := time.Duration(a.second) * time.Second
	if a.factor == 0 {
		a.factor = h.jitter(a.id, a.second)
	}
	mean := (a.load.rate(start) + a.load.rate(age)) / 2
	return a.before + float64(mean*(age-start).Seconds()*a.factor)
}

// jitter is the factor by which a load differs from its rate in one second.
func (h *Host) jitter(id uint64, second int64) float64 {
	if h.noise == 0 {
		return 1
	}
	random := rand.New(rand.NewPCG(h.seed^id<<48, uint64(second)))
	share := float64(h.noise) / 10000
	return 1 + float64(share*(2*random.Float64()-1))
}

// expected is about how many connections arrive in a table within step.
func (h *Host) expected(i int, step time.Duration) uint64 {
	var n float64
	for j := range h.loads {
		a := &h.loads[j]
		if a.table == i {
			n += 2 * a.load.rate(h.clock+step-a.begin) * step.Seconds()
		}
	}
	return uint64(n)
}
