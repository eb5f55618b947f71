package main

import (
	"fmt"
	"os"
	"strings"
)

// The gc walks the entries of all namespaces at once, and its interval is a mean
// of their remaining times: next to a busy table it is that of the busy one, which
// the model can't predict.

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

// othersPeak is the most entries that other namespaces held meanwhile; ok is
// false if they are too few to matter.
func (c curve) othersPeak() (n uint64, ok bool) {
	for _, p := range c.points {
		n = max(n, p.others)
	}
	return n, n > max(c.peak()/4, 1000)
}
