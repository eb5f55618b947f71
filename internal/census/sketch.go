package census

import (
	"cmp"
	"math/bits"
	"slices"
)

// A Counted is a key with a bound on both sides of how often it came: at most
// Count, at least Count - Error.
type Counted[K any] struct {
	Key   K      `json:"key"`
	Count uint64 `json:"count"`
	Error uint64 `json:"error"`
}

// slotsPerCounter keeps the index at most a quarter full, so that a search
// ends after a step or two.
const slotsPerCounter = 4

// A word is a key of a sketch: 16 bytes, the size of an address.
type word struct{ hi, lo uint64 }

// A sketch finds the most frequent keys of a stream in constant memory: the
// space-saving algorithm of Metwally, Agrawal and El Abbadi (2005). A key that
// makes up more than 1/size of the stream is always among the counters, and no
// Count exceeds the truth by more than stream/size. Make one with newSketch.
type sketch struct {
	counters []Counted[word] // never more than its capacity
	homes    []uint32        // where in the index the search for each begins
	// index finds the counter of a key by open addressing; a slot holds the
	// number of a counter plus one.
	index []uint16
	mask  uint32
	seed  word
	// least is no more than any Count, and cursor where to search for one
	// that is as small: see evict.
	least  uint64
	cursor int
}

// newSketch makes a sketch of so many counters, a power of two up to 2^14.
// An attacker who chooses the keys of a flood must not be able to choose their
// places, and so must not know the secret. The result does not depend on it.
func newSketch(size int, secret uint64) *sketch {
	slots := size * slotsPerCounter
	return &sketch{
		counters: make([]Counted[word], 0, size),
		homes:    make([]uint32, size),
		index:    make([]uint16, slots),
		mask:     uint32(slots - 1),
		// A fraction of the golden ratio, to make two words of one.
		seed: word{secret, bits.RotateLeft64(secret, 32) * 0x9e3779b97f4a7c15},
	}
}

// add counts a key once. It allocates nothing.
func (s *sketch) add(key word) {
	home := s.home(key)
	slot := s.find(key, home)
	if i := s.index[slot]; i != 0 {
		s.counters[i-1].Count++
		return
	}
	n := len(s.counters)
	if n < cap(s.counters) {
		s.counters = append(s.counters, Counted[word]{Key: key, Count: 1})
		s.homes[n] = home
		s.index[slot] = uint16(n + 1)
		return
	}
	i := s.evict()
	s.forget(i)
	c := &s.counters[i]
	c.Key, c.Error = key, c.Count
	c.Count++
	s.homes[i] = home
	s.index[s.find(key, home)] = uint16(i + 1)
}

// home is a hash of the key: both halves of the product of two words that only
// the seed's owner knows.
func (s *sketch) home(key word) uint32 {
	hi, lo := bits.Mul64(key.hi^s.seed.hi, key.lo^s.seed.lo)
	hi, lo = bits.Mul64(hi^lo, s.seed.lo|1)
	return uint32(hi^lo) & s.mask
}

// find returns the slot of a key, or the free one where it would go.
func (s *sketch) find(key word, slot uint32) uint32 {
	for {
		i := s.index[slot]
		if i == 0 || s.counters[i-1].Key == key {
			return slot
		}
		slot = (slot + 1) & s.mask
	}
}

// forget frees the slot of a counter and moves up what had to go further
// because of it.
func (s *sketch) forget(i int) {
	hole := s.homes[i]
	for s.index[hole] != uint16(i+1) {
		hole = (hole + 1) & s.mask
	}
	s.index[hole] = 0
	for slot := (hole + 1) & s.mask; s.index[slot] != 0; slot = (slot + 1) & s.mask {
		home := s.homes[s.index[slot]-1]
		if (slot-home)&s.mask < (slot-hole)&s.mask {
			continue // its home lies behind the hole: a search does not come by
		}
		s.index[hole], s.index[slot] = s.index[slot], 0
		hole = slot
	}
}

// evict returns a counter with the smallest count. Counts only grow: when no
// counter after the cursor is as small as least, none is, and least moves up
// with a walk over all. It can't move up more often than stream/size, so that
// an Add costs one step of such walks on average, however keys are chosen.
func (s *sketch) evict() int {
	for {
		for ; s.cursor < len(s.counters); s.cursor++ {
			if s.counters[s.cursor].Count <= s.least {
				return s.cursor
			}
		}
		s.cursor, s.least = 0, s.smallest()
	}
}

func (s *sketch) smallest() uint64 {
	least := s.counters[0].Count
	for i := range s.counters {
		least = min(least, s.counters[i].Count)
	}
	return least
}

// top returns up to n keys, the most frequent first; of two that came as often
// the one that is surer.
func (s *sketch) top(n int) []Counted[word] {
	all := slices.Clone(s.counters)
	slices.SortStableFunc(all, byCount)
	return all[:min(max(n, 0), len(all))]
}

func byCount(a, b Counted[word]) int {
	return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Error, b.Error))
}
