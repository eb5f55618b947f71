package metrics

import (
	"slices"
	"sort"
	"time"
)

// bounds are the upper ends of the buckets. They reach from a write to
// /proc/sys to the deletion of a million entries.
var bounds = [...]time.Duration{
	100 * time.Microsecond, 300 * time.Microsecond, time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond,
	30 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, 30 * time.Second,
}

// A histogram counts durations. The zero histogram is empty.
type histogram struct {
	counts [len(bounds) + 1]uint64
	sum    time.Duration
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.counts[sort.Search(len(bounds), func(i int) bool { return d <= bounds[i] })]++
	h.sum += d
}

// write writes the samples of one histogram of the page's family.
func (h *histogram) write(p *page, labels ...string) {
	var below uint64
	with := append(slices.Clip(labels), "le", "")
	for i, bound := range bounds {
		below += h.counts[i]
		with[len(with)-1] = number(bound.Seconds())
		p.suffixed("_bucket", float64(below), with...)
	}
	below += h.counts[len(bounds)]
	with[len(with)-1] = "+Inf"
	p.suffixed("_bucket", float64(below), with...)
	p.suffixed("_sum", h.sum.Seconds(), labels...)
	p.suffixed("_count", float64(below), labels...)
}
