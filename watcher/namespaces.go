package watcher

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
)

// Namespaces are the other network namespaces of the host. All are counted;
// those that hold much are watched one by one, as tables of the loop. Make one
// with NewNamespaces.
//
// Observe is for one goroutine; the other methods may be called by any.
type Namespaces struct {
	known    Known
	patterns Patterns
	// writable says what may be written, claimed whether the ledger has a value of
	// a namespace.
	writable func(netns uint32) policy.Kernel
	claimed  func(netns uint32) bool
	// sweepSoon is set when the kernel spoke of a namespace that is not watched.
	sweepSoon atomic.Bool

	mu         sync.Mutex
	watched    []*watchedNamespace
	sweep      Sweep
	swept      policy.BootTime
	checked    policy.BootTime // that the watched ones are still there
	sweepTook  time.Duration   // the last sweep, with the search before it
	sweepEvery time.Duration   // until the next sweep
	searched   int             // sweeps since the last search
}

// A watchedNamespace is one that is watched.
type watchedNamespace struct {
	inode uint32
	// sampler reads it from inside; nil: it is not permitted to be entered.
	sampler *Sampler
	policy.Watched
	failing bool // it could not be read
}

// sweepsBetweenSearches is how many sweeps read what the last search found.
const sweepsBetweenSearches = 4

// Patterns choose namespaces by what they are called, see Namespace.Matches.
// The zero Patterns choose all.
type Patterns struct {
	// Include are those to watch; none stands for all. Exclude outranks it.
	Include, Exclude []string
}

func (p Patterns) match(ns *Namespace) bool {
	included := len(p.Include) == 0 || ns.Matches(p.Include)
	return included && !ns.Matches(p.Exclude)
}

// NewNamespaces returns the namespaces other than own, of which those that
// match the patterns are watched. Can reports what may be written in one, and
// claimed whether a value of it is to be given back, for as long as it is one
// goes on to be watched.
func NewNamespaces(own *netns.NS, patterns Patterns, can func(netns uint32) policy.Kernel, claimed func(netns uint32) bool) *Namespaces {
	return &Namespaces{known: Known{Own: own.Inode()}, patterns: patterns, writable: can, claimed: claimed}
}

// Observe returns the observations of those that are watched, and completes
// the host's sums in the own one. Nothing is locked while it reads: what can be
// written is found out by way of Open.
func (n *Namespaces) Observe(own *policy.Observation) []policy.Observation {
	n.mu.Lock()
	if n.due(own) {
		n.sweepAndChoose(own)
	}
	watched := slices.Clone(n.watched)
	n.mu.Unlock()
	var all []policy.Observation
	entries := make(map[uint32]uint64, len(watched))
	for _, w := range watched {
		if o, err := n.observeOne(w, own); err == nil {
			all = append(all, o)
			entries[w.inode] = o.Table.Entries
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.update(entries, own)
	own.Host = policy.Host{Entries: own.Table.Entries + n.sweep.Entries, Tables: n.tables(own)}
	for i := range all {
		all[i].Host = own.Host
	}
	return all
}

// update takes in what the watched ones hold now. One that could not be read has
// gone away, or is read again at the next turn: to let go of it would end its
// incident, and what is to be given back in it would be given back by nobody.
func (n *Namespaces) update(entries map[uint32]uint64, own *policy.Observation) {
	kept := n.watched[:0]
	for _, w := range n.watched {
		now, ok := entries[w.inode]
		if !ok {
			if !w.failing {
				n.sweepSoon.Store(true)
			}
			if w.failing = n.known.InUse(w.inode); w.failing {
				kept = append(kept, w)
			} else {
				w.close()
			}
			continue
		}
		w.failing = false
		n.sweep.Entries = n.sweep.Entries - min(w.Entries, n.sweep.Entries) + now
		w.Entries = now
		if now >= policy.WatchThreshold(own.Table.Max) {
			w.Seen = own.Now
		}
		kept = append(kept, w)
	}
	n.watched = kept
}

// due reports whether it is time for a sweep.
func (n *Namespaces) due(own *policy.Observation) bool {
	if own.Absent || own.Table.Max == 0 {
		return false
	}
	if n.swept == 0 || own.Now.Since(n.swept) >= n.sweepEvery || n.someUnused(own.Now) {
		return true
	}
	return n.sweepSoon.Load() && policy.SweepAfterLine(own, n.sweepTook, own.Now.Since(n.swept))
}

// someUnused reports whether one of those that are watched is kept by nothing
// else any more, and has the next look search for it.
func (n *Namespaces) someUnused(now policy.BootTime) bool {
	if len(n.watched) == 0 || now.Since(n.checked) < policy.HolderCheckInterval {
		return false
	}
	n.checked = now
	for _, w := range n.watched {
		if !n.known.InUse(w.inode) {
			n.sweepSoon.Store(true)
			return true
		}
	}
	return false
}

// sweepAndChoose sweeps all namespaces and chooses those to watch.
func (n *Namespaces) sweepAndChoose(own *policy.Observation) {
	start := time.Now()
	alarmed := n.sweepSoon.Swap(false)
	if alarmed || n.swept == 0 || n.searched >= sweepsBetweenSearches {
		if n.known.Search() == nil {
			n.searched = 0
		}
	}
	n.searched++
	n.sweep = n.known.Sweep(policy.WatchThreshold(own.Table.Max))
	for _, w := range n.watched {
		ns, _ := n.known.Lookup(w.inode)
		w.Entries = ns.Entries // of which the sum is made
	}
	n.swept, n.sweepTook = own.Now, time.Since(start)
	n.choose(own)
	fullest := uint64(0)
	for _, w := range n.watched {
		fullest = max(fullest, w.Entries)
	}
	n.sweepEvery = policy.SweepInterval(n.sweepTook, fullest, own.Table.Max)
}

// choose stops watching what is gone or calm, and begins with what holds much.
func (n *Namespaces) choose(own *policy.Observation) {
	kept := n.watched[:0]
	for _, w := range n.watched {
		ns, here := n.known.Lookup(w.inode)
		w.Claimed = n.claimed(w.inode)
		if !here || w.Idle(own.Now) || !w.Claimed && !n.patterns.match(&ns) {
			w.close()
			continue
		}
		kept = append(kept, w)
	}
	n.watched = kept
	for i := range n.sweep.Full {
		ns := &n.sweep.Full[i]
		if !n.patterns.match(ns) || n.find(ns.Inode) != nil {
			continue
		}
		if len(n.watched) >= policy.MaxWatched && !n.makeRoom(ns.Entries) {
			return // those that follow hold less
		}
		n.watch(ns.Inode, own.Now).Entries = ns.Entries
	}
}

// makeRoom stops watching one that gives way to a namespace with that many
// entries, and reports whether there is one.
func (n *Namespaces) makeRoom(entries uint64) bool {
	watched := make([]policy.Watched, len(n.watched))
	for i, w := range n.watched {
		w.Claimed = n.claimed(w.inode)
		watched[i] = w.Watched
	}
	least := policy.Displaced(watched, entries)
	if least < 0 {
		return false
	}
	n.watched[least].close()
	n.watched = slices.Delete(n.watched, least, least+1)
	return true
}

// SetPatterns chooses by other patterns, at the next observation.
func (n *Namespaces) SetPatterns(patterns Patterns) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.patterns = patterns
	n.sweepSoon.Store(true)
}

// watch begins to watch a namespace, from inside where that is permitted.
func (n *Namespaces) watch(inode uint32, now policy.BootTime) *watchedNamespace {
	ns, _ := n.known.Lookup(inode)
	w := &watchedNamespace{inode: inode, Watched: policy.Watched{Entries: ns.Entries, Seen: now}}
	if ns, err := n.known.Open(inode); err == nil { // or else it is read from outside
		w.sampler = NewSampler(ns, true)
		w.sampler.Writable = n.writable
	}
	n.watched = append(n.watched, w)
	return w
}

func (n *Namespaces) find(inode uint32) *watchedNamespace {
	for _, w := range n.watched {
		if w.inode == inode {
			return w
		}
	}
	return nil
}

// observeOne reads a namespace from inside, or else through a process in it.
func (n *Namespaces) observeOne(w *watchedNamespace, own *policy.Observation) (policy.Observation, error) {
	if w.sampler != nil {
		return w.sampler.Observe()
	}
	table, err := n.known.Read(w.inode)
	if err != nil {
		return policy.Observation{}, err
	}
	table.Max, table.Buckets = own.Table.Max, own.Table.Buckets
	o := policy.Observation{At: own.At, Now: own.Now, Table: table, Memory: own.Memory}
	o.Kernel = policy.Kernel{MaxWritable: own.Kernel.MaxWritable, BucketsWritable: own.Kernel.BucketsWritable}
	return o, nil
}

// tables is the number of namespaces that hold enough to be taken for ones
// that could fill.
func (n *Namespaces) tables(own *policy.Observation) uint32 {
	count := uint32(n.sweep.Filled)
	if own.Table.Entries >= policy.WatchThreshold(own.Table.Max) {
		count++
	}
	return max(count, 1)
}

// Open returns a namespace to act in, which is then watched. It stays open
// until it is gone: the caller does not close it. It is remediate's way to find
// one. The error is os.ErrNotExist for one that is gone, os.ErrPermission for
// one that may not be entered.
func (n *Namespaces) Open(inode uint32) (*netns.NS, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.find(inode)
	if w == nil {
		if _, here := n.known.Lookup(inode); !here {
			if err := n.known.Search(); err != nil {
				return nil, err
			}
		}
		if _, here := n.known.Lookup(inode); !here {
			return nil, fmt.Errorf("netns %d: %w", inode, fs.ErrNotExist)
		}
		_, now := Now()
		w = n.watch(inode, now)
	}
	if w.sampler == nil {
		return nil, fmt.Errorf("enter %s: %w", n.Name(inode), fs.ErrPermission)
	}
	return w.sampler.NetNS(), nil
}

// Entered returns a namespace that is watched from inside; of any other the
// error is errors.ErrUnsupported.
func (n *Namespaces) Entered(inode uint32) (*netns.NS, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w := n.find(inode); w != nil && w.sampler != nil {
		return w.sampler.NetNS(), nil
	}
	return nil, fmt.Errorf("look into %s: %w", n.Name(inode), errors.ErrUnsupported)
}

// Name is what people call a namespace.
func (n *Namespaces) Name(inode uint32) string {
	ns, _ := n.known.Lookup(inode)
	return ns.Name()
}

// Refresh has the next observation read everything again.
func (n *Namespaces) Refresh() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.watched {
		if w.sampler != nil {
			w.sampler.Refresh()
		}
	}
}

// SweepSoon has all namespaces swept soon, for the kernel said that a table is
// full: that of a namespace, or of any if it is 0. One that is watched already,
// or not to be watched, is no reason, nor is the own one.
func (n *Namespaces) SweepSoon(inode uint32) {
	if inode != 0 {
		if inode == n.known.Own {
			return
		}
		ns, here := n.known.Lookup(inode)
		n.mu.Lock()
		known := n.find(inode) != nil || here && !n.patterns.match(&ns)
		n.mu.Unlock()
		if known {
			return
		}
	}
	n.sweepSoon.Store(true)
}

func (w *watchedNamespace) close() {
	if w.sampler != nil {
		_ = errors.Join(w.sampler.Close(), w.sampler.NetNS().Close()) // they were only read
	}
}

// Close leaves the namespaces that are watched.
func (n *Namespaces) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.watched {
		w.close()
	}
	n.watched = nil
	return n.known.Close()
}
