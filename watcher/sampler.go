package watcher

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
)

// A Sampler measures one namespace and returns observations. It is for one
// goroutine at a time. Make one with NewSampler.
type Sampler struct {
	// Writable reports what may be written in a namespace. Optional.
	Writable func(netns uint32) policy.Kernel

	// root is the directory below which files are read; "" is "/".
	root      string
	ns        *netns.NS
	netns     uint32 // 0 is the daemon's own
	reader    TableReader
	entrySize EntrySize
	// These change slowly and cost more than a reading of the table: they are
	// read once a second, what may be written more seldom still, and all after
	// every act.
	memory       policy.Memory
	timeouts     conntrack.Timeouts
	slowRead     policy.BootTime
	kernel       policy.Kernel
	writableRead policy.BootTime
	// absent is set if there was no table at the last observation.
	absent bool
}

// NewSampler returns a sampler of a namespace's table. Foreign is false for the
// namespace of the process, which observations name 0. The caller closes ns
// after the Sampler.
func NewSampler(ns *netns.NS, foreign bool) *Sampler {
	s := &Sampler{ns: ns, absent: true}
	s.reader.Stats = s.stats
	if foreign {
		s.netns = ns.Inode()
		s.reader.NetNS = ns
	}
	return s
}

// stats reads the counters through ctnetlink, for a kernel whose procfs has
// none.
func (s *Sampler) stats() ([]conntrack.CPUStat, error) {
	return ctnetlink.ReadStats(context.Background(), s.ns)
}

// NetNS returns the namespace whose table is sampled.
func (s *Sampler) NetNS() *netns.NS { return s.ns }

// Close closes the files. The Sampler may be used again.
func (s *Sampler) Close() error { return s.reader.Close() }

// slowEvery is the interval between two readings of slow values. Rights change
// more seldom, and each takes two more system calls to read.
const (
	slowEvery     = time.Second
	writableEvery = 10 * time.Second
)

// Observe takes one observation. A missing table is an observation, too: its
// Absent is set.
func (s *Sampler) Observe() (policy.Observation, error) {
	wall, now := Now()
	o := policy.Observation{At: wall, Now: now}
	o.Table.NetNS = s.netns
	sample, err := s.reader.Read()
	if err == nil && s.absent {
		// The slab comes with the module, and can be another one each time.
		s.entrySize, s.absent = ReadEntrySize(s.root), false
	}
	if err == nil && (s.slowRead == 0 || now.Since(s.slowRead) >= slowEvery) {
		if err = s.readSlow(now); err == nil {
			s.slowRead = now
		}
	}
	if errors.Is(err, ErrNoTable) { // not there, or gone just now
		o.Absent = true
		s.absent = true
		s.Refresh()
		return o, nil
	}
	if err != nil {
		return o, err
	}
	o.Table = sample.Table
	o.Table.NetNS = s.netns
	o.Memory, o.Kernel, o.Timeouts = s.memory, s.kernel, s.timeouts
	o.Host = policy.Host{Entries: o.Table.Entries, Tables: 1}
	return o, nil
}

func (s *Sampler) readSlow(now policy.BootTime) error {
	// Without a reading of memory max is not raised, and the hold is
	// memory_unknown; everything else works.
	memory, err := ReadMemory(s.root)
	if err != nil {
		memory = Memory{}
	}
	s.memory = policy.Memory{
		Total: memory.Total, Available: memory.Available, Pressure: memory.Pressure,
		EntryBytes: s.entrySize.Bytes, Assumed: s.entrySize.Assumed,
	}
	if s.Writable != nil && (s.writableRead == 0 || now.Since(s.writableRead) >= writableEvery) {
		s.kernel, s.writableRead = s.Writable(s.netns), now
	}
	s.timeouts, err = s.reader.Timeouts()
	return err
}

// Refresh has the next observation read everything again: something was changed.
func (s *Sampler) Refresh() { s.slowRead, s.writableRead = 0, 0 }

// Now returns the wall clock and the time since boot.
func Now() (time.Time, policy.BootTime) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Linux has had this clock since 2.6.39; Go needs a newer kernel.
		panic("read CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Now(), policy.BootTime(ts.Nano())
}
