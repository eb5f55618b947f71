package cli

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/watcher"
)

// A lookout turns what the watcher measures in one namespace into
// observations.
type lookout struct {
	// root is the directory below which files are read; "" is "/".
	root  string
	ns    *netns.NS
	netns uint32 // 0 is the daemon's own
	gauge watcher.Gauge
	size  watcher.EntrySize
	// can says what may be written; nil: nobody is going to write.
	can func(netns uint32) policy.Kernel
	// These change slowly and cost more than a reading of the table: they are
	// read once a second, what may be written more seldom still, and all after
	// every act.
	memory   policy.Memory
	timeouts conntrack.Timeouts
	slow     policy.Moment
	kernel   policy.Kernel
	rights   policy.Moment
	// absent says that there was no table at the last look.
	absent bool
}

// newLookout watches the table of a namespace. Foreign is false for the
// daemon's own.
func newLookout(ns *netns.NS, foreign bool) *lookout {
	l := &lookout{ns: ns, absent: true}
	l.gauge.Stats = l.stats
	if foreign {
		l.netns = ns.Inode()
		l.gauge.NetNS = ns
	}
	return l
}

// stats reads the counters through ctnetlink, for a kernel whose procfs has
// none.
func (l *lookout) stats() ([]conntrack.CPUStat, error) {
	return ctnetlink.ReadStats(context.Background(), l.ns)
}

func (l *lookout) close() error { return l.gauge.Close() }

// slowly is how often what changes slowly is read. That somebody takes a right
// away is rarer than that, and costs two more system calls for each right.
const (
	slowly     = time.Second
	rightsLast = 10 * time.Second
)

// observe takes one observation. A missing table is an observation, too.
func (l *lookout) observe(context.Context) (policy.Observation, error) {
	wall, now := clock()
	o := policy.Observation{At: wall, Now: now}
	o.Table.NetNS = l.netns
	sample, err := l.gauge.Read()
	if err == nil && l.absent {
		// The slab comes with the module, and can be another one each time.
		l.size, l.absent = watcher.ReadEntrySize(l.root), false
	}
	if err == nil && (l.slow == 0 || now.Since(l.slow) >= slowly) {
		if err = l.readSlow(now); err == nil {
			l.slow = now
		}
	}
	if errors.Is(err, watcher.ErrNoTable) { // not there, or gone just now
		o.Absent = true
		l.absent = true
		l.refresh()
		return o, nil
	}
	if err != nil {
		return o, err
	}
	o.Table = sample.Table
	o.Table.NetNS = l.netns
	o.Memory, o.Kernel, o.Timeouts = l.memory, l.kernel, l.timeouts
	o.Host = policy.Host{Entries: o.Table.Entries, Tables: 1}
	return o, nil
}

func (l *lookout) readSlow(now policy.Moment) error {
	// Without a word on memory max is not raised, which the hold says; the
	// table can be watched and relieved all the same.
	memory, err := watcher.ReadMemory(l.root)
	if err != nil {
		memory = watcher.Memory{}
	}
	l.memory = policy.Memory{
		Total: memory.Total, Available: memory.Available, Pressure: memory.Pressure,
		EntryBytes: l.size.Bytes, Assumed: l.size.Assumed,
	}
	if l.can != nil && (l.rights == 0 || now.Since(l.rights) >= rightsLast) {
		l.kernel, l.rights = l.can(l.netns), now
	}
	l.timeouts, err = l.gauge.Timeouts()
	return err
}

// refresh has everything read again: something was changed.
func (l *lookout) refresh() { l.slow, l.rights = 0, 0 }

// clock returns the wall clock and the time since boot.
func clock() (time.Time, policy.Moment) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Linux has had this clock since 2.6.39; Go needs a newer kernel.
		panic("read CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Now(), policy.Moment(ts.Nano())
}
