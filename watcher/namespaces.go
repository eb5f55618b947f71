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

// Namespaces are the other network namespaces of the host. The entries of all
// are counted; those with many entries are watched one by one, as tables of the
// loop. Make one with NewNamespaces.
//
// Observe is for one goroutine; the other methods may be called by any.
type Namespaces struct {
	known    Known
	patterns Patterns
	// writable reports what may be written in a namespace, claimed whether the
	// ledger has a value of it.
	writable func(netns uint32) policy.Kernel
	claimed  func(netns uint32) bool
	// sweepSoon is set when the kernel named a namespace that is not watched.
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

// A watchedNamespace is one that the loop has as a table.
type watchedNamespace struct {
	inode uint32
	// sampler reads it from inside; nil if it may not be entered.
	sampler *Sampler
	policy.Watched
	failing bool // it could not be read
}

// sweepsBetweenSearches is how many sweeps read the namespaces of one search.
const sweepsBetweenSearches = 4

// Patterns choose namespaces by their names, see Namespace.Matches. The zero
// Patterns choose all.
type Patterns struct {
	// Include are those to watch; empty means all. Exclude outranks Include.
	Include, Exclude []string
}

func (p Patterns) match(ns *Namespace) bool {
	included := len(p.Include) == 0 || ns.Matches(p.Include)
	return included && !ns.Matches(p.Exclude)
}

// NewNamespaces returns the namespaces other than own, of which those that
// match the patterns are watched. Writable reports what may be written in one,
// claimed whether a value of it is still to be restored: such a namespace stays
// watched.
func NewNamespaces(own *netns.NS, patterns Patterns, can func(netns uint32) policy.Kernel, claimed func(netns uint32) bool) *Namespaces {
	return &Namespaces{known: Known{Own: own.Inode()}, patterns: patterns, writable: can, claimed: claimed}
}

// Observe returns the observations of the watched namespaces, and adds the
// host's sums to that of the daemon's own. It holds no lock while it reads,
// because writable may call Open.
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

// update stores the entries of the watched namespaces. One that could not be
// read stays watched while it is in use, and is read again at the next turn:
// closing it would end its incident and leave its values unrestored.
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

// someUnused reports whether only ctwarden still uses one of the watched
// namespaces, and then requests a search.
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

// choose stops watching namespaces that are gone or idle, and starts watching
// the fullest.
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
			return // the following namespaces have fewer entries
		}
		n.watch(ns.Inode, own.Now).Entries = ns.Entries
	}
}

// makeRoom stops watching the namespace that policy.GiveWay chooses for one with
// that many entries, and reports whether there is one.
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

// SetPatterns replaces the patterns from the next observation on.
func (n *Namespaces) SetPatterns(patterns Patterns) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.patterns = patterns
	n.sweepSoon.Store(true)
}

// watch starts watching a namespace, from inside where that is permitted.
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

// tables is the number of namespaces with enough entries to be watched.
func (n *Namespaces) tables(own *policy.Observation) uint32 {
	count := uint32(n.sweep.Filled)
	if own.Table.Entries >= policy.WatchThreshold(own.Table.Max) {
		count++
	}
	return max(count, 1)
}

// Open returns a namespace for remediate to act in, and starts watching it. The
// caller must not close it: Namespaces does so when it is gone. The error is
// os.ErrNotExist for one that is gone, os.ErrPermission for one that may not be
// entered.
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
	return nil, fmt.Errorf("read entries of %s: %w", n.Name(inode), errors.ErrUnsupported)
}

// Name returns a namespace's name, see Namespace.Name.
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

// SweepSoon requests a sweep because the kernel reported a full table: that of
// a namespace, or of an unknown one if inode is 0. It ignores the own namespace,
// those that are watched, and those that the patterns exclude.
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

// Close closes the watched namespaces.
func (n *Namespaces) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.watched {
		w.close()
	}
	n.watched = nil
	return n.known.Close()
}
