package tablesim

import (
	"math"
	"time"
)

// carry turns expected numbers into whole ones: what is left of one is carried
// over to the next, so that sums are right.
type carry struct {
	failed, evicted, scanned, chained, freed float64
}

func floorWithCarry(x float64, carry *float64) uint64 {
	x += *carry
	n := math.Floor(x)
	*carry = x - n
	return uint64(n)
}

// admit brings n connections of a load to a table, as __nf_conntrack_alloc and
// __nf_conntrack_confirm do (net/netfilter/nf_conntrack_core.c).
func (h *Host) admit(t *table, l *Load, n uint64, at, width time.Duration) {
	if l.Class == Clash {
		t.counters.Drop += n
		t.counters.InsertFailed += n
		h.losses.Clash += n
		return
	}
	h.freeExpiredInChains(n * l.Class.lookups())
	n -= h.dropForMemory(t, n)
	room := n
	if h.max != 0 {
		room = 0
		if entries := t.entries(); entries < h.max {
			room = min(n, h.max-entries)
		}
	}
	passed := room + h.earlyDrop(t, n-room)
	passed -= h.failInLongChains(t, passed)
	if passed > 0 {
		t.add(l.Class, l.Lasting, passed, at, width)
	}
}

// freeExpiredInChains frees the expired entries in the chains that so many lookups walk
// through, of whatever namespace (____nf_conntrack_find, Linux 4.9 and later).
// Each entry stands in two chains.
func (h *Host) freeExpiredInChains(lookups uint64) {
	var expired uint64
	for i := range h.tables {
		expired += h.tables[i].expired
	}
	if expired == 0 {
		return
	}
	share := 2 * float64(lookups) / float64(h.buckets)
	freed := floorWithCarry(float64(expired)*(1-math.Exp(-share)), &h.carry.freed)
	for i := range h.tables {
		t := &h.tables[i]
		n := min(scale(freed, t.expired, expired), t.expired)
		t.expired -= n
	}
}

// dropForMemory counts those of n packets for which there is no memory.
func (h *Host) dropForMemory(t *table, n uint64) uint64 {
	fit := h.available / h.bytesPerEntry()
	entries := h.entries()
	if entries+n <= fit {
		return 0
	}
	lost := n
	if entries < fit {
		lost = entries + n - fit
	}
	t.counters.Drop += lost
	h.losses.NoMemory += lost
	return lost
}

// memoryExhausted reports whether no entry can be allocated.
func (h *Host) memoryExhausted() bool { return h.entries() >= h.available/h.bytesPerEntry() }

// evictionRange is how many buckets early drop scans (NF_CT_EVICTION_RANGE).
const evictionRange = 8

// earlyDrop makes room for packets that met a full table. It returns how many
// passed.
func (h *Host) earlyDrop(t *table, packets uint64) uint64 {
	if packets == 0 {
		return 0
	}
	entries := float64(h.entries())
	chain := 2 * entries / float64(h.buckets)
	victims := float64(t.unassured()) / entries
	fails, each := 1.0, 0.0
	switch {
	case victims == 0:
	case !h.machine.Kernel.atLeast(4, 15):
		// Early drop scans about 8 entries and evicts one.
		fails, each = math.Pow(1-victims, evictionRange), 1
	default:
		// Of the first bucket with a victim it evicts all.
		fails = math.Exp(-float64(evictionRange * chain * victims))
		each = chain * victims / (1 - math.Exp(-chain*victims))
	}
	failed := min(floorWithCarry(float64(float64(packets)*fails), &h.carry.failed), packets)
	passed := packets - failed
	evicted := floorWithCarry(float64(float64(passed)*each), &h.carry.evicted)
	evicted = t.remove(func(q *queue, _ *cohort) bool { return !q.kind.assured() }, max(evicted, passed), nil)
	if evicted < passed {
		failed += passed - evicted
		passed = evicted
	}
	// Expired entries on the way are freed, and are no victims.
	walked := floorWithCarry(float64(packets)*evictionRange*chain*float64(t.expired)/entries, &h.carry.scanned)
	t.expired -= min(walked, t.expired)
	t.counters.EarlyDrop += evicted
	t.counters.Drop += failed
	h.losses.EarlyDropped += evicted
	h.losses.Full += failed
	if failed > 0 {
		h.gc.requested = true
	}
	return passed
}

// The kernel refuses an insertion into a chain of more than 50 entries, plus a
// random number below 30 (MIN_CHAINLEN and MAX_CHAINLEN, Linux 5.15 and later).
const (
	minChainLen = 50
	maxChainLen = 80
)

// failInLongChains counts those of n insertions that meet a chain that is too long.
func (h *Host) failInLongChains(t *table, n uint64) uint64 {
	if n == 0 || !h.machine.Kernel.boundsChains() {
		return 0
	}
	chain := 2 * float64(h.entries()) / float64(h.buckets)
	if chain < minChainLen/3 {
		return 0
	}
	lost := min(floorWithCarry(float64(float64(n)*longChainShare(chain)), &h.carry.chained), n)
	t.counters.InsertFailed += lost
	t.counters.ChainTooLong += lost
	h.losses.Chains += lost
	return lost
}

// longChainShare is the share of insertions that fail when chains hold mean
// entries on average: lengths are Poisson distributed, and the kernel walks two
// chains.
func longChainShare(mean float64) float64 {
	term := math.Exp(-mean)
	below, refused := 0.0, 0.0
	for length := range maxChainLen {
		below += term
		term *= mean / float64(length+1)
		if length >= minChainLen {
			refused += (1 - below) / (maxChainLen - minChainLen)
		}
	}
	refused = max(refused, 0)
	return 1 - (1-refused)*(1-refused)
}

// A rateLimiter is the kernel's net_ratelimit: 10 lines in 5 s for all of
// networking and all namespaces together.
type rateLimiter struct {
	since  time.Duration
	passed uint64
}

// allow returns how many of n lines get through, when others log some at the
// same time.
func (l *rateLimiter) allow(now time.Duration, n, others uint64) uint32 {
	const (
		window = 5 * time.Second
		burst  = 10
	)
	if n+others == 0 {
		return 0
	}
	if l.passed == 0 || now-l.since >= window {
		l.since, l.passed = now, 0
	}
	through := min(n+others, burst-l.passed)
	l.passed += through
	return uint32(scale(through, n, n+others))
}
