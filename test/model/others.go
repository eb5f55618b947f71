package main

import (
	"fmt"
	"os"
	"strings"
)

// The gc goes through the entries of all namespaces at once, and its rhythm is
// the mean of what they have left: a quiet table next to a busy one is looked
// after in the busy one's rhythm, which the model can't know.

// allEntries estimates how many entries all namespaces of the machine hold, by
// the slab allocator's count (some kernels count what is free on a CPU's slab as
// taken). ok is false where that can't be read.
func allEntries() (n uint64, ok bool) {
	text, err := os.ReadFile("/proc/slabinfo")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "nf_conntrack "); found {
			_, err := fmt.Sscan(rest, &n)
			return n, err == nil
		}
	}
	return 0, false
}

// othersPeak is how many entries others held meanwhile, at most; ok is false if
// they were too few to matter.
func (c curve) othersPeak() (n uint64, ok bool) {
	for _, p := range c.points {
		n = max(n, p.others)
	}
	return n, n > max(c.peak()/4, 1000)
}
