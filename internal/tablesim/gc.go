package tablesim

import "time"

// A gcWorker is the kernel's gc worker.
type gcWorker struct {
	next time.Duration
	// requested is true when early drop found no victim since the last pass: the
	// gc then evicts, too. running is true until a pass has ended.
	requested, running bool
}

const (
	gcFirst = 60 * time.Second
	// gcRate is how many entries a pass evicts a second, at most: 64,000/HZ
	// in one run, then a pause of a jiffy.
	gcRate = 64000
	// gcEvictFullness is the fullness from which the gc evicts what is not expired.
	gcEvictFullness = 9500
	// gcBias is how many entries with a minute left the gc pretends to have
	// seen before it begins (GC_SCAN_INITIAL_COUNT): a few short-lived ones
	// do not wake it often.
	gcBias = 100
)

// runGC lets the gc work for one stretch of time.
func (h *Host) runGC(step time.Duration) {
	switch h.machine.Kernel.gcMethod() {
	case byTimer:
		for i := range h.tables {
			h.tables[i].expired = 0
		}
	case bySlice:
		// In 16 s it comes by everywhere once.
		part := min(step, 16*time.Second)
		for i := range h.tables {
			t := &h.tables[i]
			t.expired -= min(t.expired, scale(t.expired+15, uint64(part), uint64(8*time.Second)))
		}
		if h.gc.requested {
			h.evictForGC(scale(h.entries(), uint64(part), uint64(16*time.Second)))
			h.gc.requested = false
		}
	case byScan:
		if h.clock < h.gc.next {
			return
		}
		h.freeExpired(h.entries())
		h.gc.next = h.clock + 120*time.Second
	case byMean:
		h.runGCByMean(step)
	}
}

func (h *Host) runGCByMean(step time.Duration) {
	if !h.gc.running && h.clock < h.gc.next {
		return
	}
	most := uint64(gcRate) * uint64(step) / uint64(time.Second)
	if h.gc.running = h.freeExpired(most) >= most; h.gc.running {
		return
	}
	sum, n := gcBias*time.Minute.Seconds(), uint64(gcBias)
	for i := range h.tables {
		s, c := h.tables[i].remaining(h.clock)
		sum, n = sum+s, n+c
	}
	wait := time.Duration(sum / float64(n) * float64(time.Second))
	h.gc.next = h.clock + min(max(wait, time.Second), time.Minute)
}

// freeExpired frees up to most entries that have expired, and then, when early drop
// requested it, others. It returns how many.
func (h *Host) freeExpired(most uint64) uint64 {
	left := most
	for i := range h.tables {
		n := min(h.tables[i].expired, left)
		h.tables[i].expired -= n
		left -= n
	}
	if h.gc.requested && left > 0 {
		left -= h.evictForGC(left)
		h.gc.requested = false
	}
	return most - left
}

// evictForGC evicts entries that are not ASSURED, and TCP that is closing, in every
// namespace that is nearly full (gc_worker_can_early_drop in
// net/netfilter/nf_conntrack_core.c). They are counted nowhere.
func (h *Host) evictForGC(most uint64) uint64 {
	var done uint64
	for i := range h.tables {
		t := &h.tables[i]
		if h.max == 0 || t.entries() < scale(h.max, gcEvictFullness, 10000) {
			continue
		}
		done += t.remove(func(q *queue, _ *cohort) bool {
			return !q.kind.assured() || q.kind == timeWait
		}, most-done, nil)
	}
	h.losses.EvictedByGC += done
	return done
}
