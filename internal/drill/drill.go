package drill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/sandbox"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// The drill's traffic and times. The daemon's own delays between two actions are
// longer than a drill.
const (
	settle        = 2 * time.Second
	timeLimit     = 90 * time.Second
	longConnCount = 8
	shortConnRate = 200 // short connections a second
	// The flood fills the present max in about fillSeconds, which is slow enough for
	// a forecast, at minRate to maxRate packets a second.
	fillSeconds      = 12
	minRate, maxRate = 2_000, 60_000
)

// Options are the options of a drill.
type Options struct {
	Version string
	// Config has the limits, whose delays the drill shortens.
	Config *config.Config
	// HostWide really raises nf_conntrack_max, and restores it.
	HostWide bool
	Progress Progress
}

// A Progress has the functions that a drill calls with its progress. All are needed.
// Record may be called by any goroutine at any time, the others one after the other.
type Progress struct {
	// Begin is called before the flood.
	Begin func(Plan)
	// Fill is called once a second; refused is the number of dropped packets.
	Fill func(s *loop.Status, refused uint64)
	// Record is called with every record of the agent.
	Record func(audit.Record)
	// End is called when every value is restored.
	End func(*Summary)
}

// A Plan describes the drill that is about to start.
type Plan struct {
	// NetNS is the inode number of the sandbox.
	NetNS uint32
	// Rate is new flows a second, Shorts short connections a second, and Flows
	// the long-lived ones.
	Rate, ShortRate uint64
	LongConns       int
	// Max is nf_conntrack_max of the host.
	Max      uint64
	HostWide bool
}

// A RefusedError is the reason why a drill can't run on this host, with commands
// that help.
type RefusedError struct {
	error
	Hints []string
}

func (e *RefusedError) Unwrap() error { return e.error }

func refuse(err error, hints ...string) error { return &RefusedError{err, hints} }

// A run is one drill with its open files.
type run struct {
	Options
	own     *netns.NS
	sandbox *sandbox.Sandbox
	sampler *watcher.Sampler
	log     *audit.Log
	agent   *agent.Agent
	dir     string
	initial sandbox.Values
	rate    uint64
	counts  counts
}

// Run floods the table of a sandbox, runs an agent on it, and restores every value.
// The error lists each failed expectation; it is a *RefusedError if the drill can't
// run on this host.
func Run(ctx context.Context, o Options) (err error) {
	d := &run{Options: o}
	ctx, stop := context.WithTimeout(ctx, timeLimit)
	defer stop()
	defer func() { err = errors.Join(err, d.cleanUp()) }()
	if err := d.prepare(ctx); err != nil {
		return err
	}
	if err := d.flood(ctx); err != nil {
		return err
	}
	if err := d.revert(); err != nil {
		return err
	}
	return d.finish()
}

// prepare makes the sandbox and the agent. It changes no kernel value.
func (d *run) prepare(ctx context.Context) (err error) {
	if d.own, err = netns.Current(); err != nil {
		return err
	}
	if d.sandbox, err = sandbox.New(); err != nil {
		return refuse(err, "sudo ctwarden drill   # a namespace and a rule in it need root")
	}
	d.sampler = watcher.NewSampler(d.sandbox.NS, true)
	o, err := d.sampler.Observe()
	if err != nil {
		return err
	}
	if err := d.check(&o); err != nil {
		return err
	}
	if d.initial, err = sandbox.ReadValues(d.own, d.sandbox.NS); err != nil {
		return err
	}
	d.rate = min(max(o.Table.Max/fillSeconds, minRate), maxRate)
	if d.dir, err = os.MkdirTemp("", "ctwarden-drill-"); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	return d.makeAgent(ctx)
}

// check refuses a drill that this host has no memory for, or that has no effect.
func (d *run) check(o *policy.Observation) error {
	switch needs, free := o.Table.Max*(uint64(o.Memory.EntryBytes)+256), o.Memory.Available; {
	case o.Absent:
		return refuse(errors.New("nf_conntrack is not loaded"), "modprobe nf_conntrack")
	case o.Table.Max == 0:
		return refuse(errors.New("nf_conntrack_max is 0: a table without a limit can't fill"), "ctwarden simulate max_zero   # what ctwarden would do")
	case needs > free/10:
		return refuse(fmt.Errorf("filling %d entries needs %d MiB, more than a tenth of the %d MiB of available memory",
			o.Table.Max, needs>>20, free>>20), "ctwarden simulate syn_flood   # the same without a kernel")
	case o.Table.Max > maxRate*25:
		return refuse(fmt.Errorf("nf_conntrack_max is %d: the flood of a drill, whose entries expire after 30 s, would not fill the table", o.Table.Max),
			"ctwarden simulate syn_flood   # the same without a kernel")
	}
	return nil
}

// makeAgent makes the agent that works on the sandbox.
func (d *run) makeAgent(ctx context.Context) (err error) {
	shortened := *d.Config
	shortened.Limits = d.drillLimits()
	if d.log, err = audit.Open(filepath.Join(d.dir, "audit.jsonl"), audit.Options{}); err != nil {
		return err
	}
	o := remediate.Options{
		Dir: d.dir, Hash: shortened.Limits.Hash, Protect: d.Config.Protect, Ephemeral: d.sandbox.NS.Inode(),
		Find: func(inode uint32) (*netns.NS, error) {
			if inode != d.sandbox.NS.Inode() {
				return nil, os.ErrNotExist
			}
			return d.sandbox.NS, nil
		},
	}
	if d.HostWide {
		// Host-wide changes are in the host's ledger, so that "ctwarden revert" works
		// after the drill was killed.
		o.Dir = d.Config.State.Dir
		if err := os.MkdirAll(o.Dir, 0o750); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
		if err := d.checkLedger(o.Dir); err != nil {
			return err
		}
	}
	boot, err := remediate.BootID("")
	if err != nil {
		return err
	}
	return d.open(ctx, agent.Options{
		Version: d.Version, Boot: boot, Config: &shortened, Own: d.own, Table: d.sandbox.NS, Remediate: o,
		KernelLog: watcher.KernelLog{Kmsg: watcher.NewKmsg()}, Log: d.log, Logger: slog.New(slog.DiscardHandler), OnRecord: d.record,
	})
}

// checkLedger refuses a ledger that has rows of a stopped daemon: at its end the drill
// restores every row, and it can't find other namespaces.
func (d *run) checkLedger(dir string) error {
	l, err := remediate.ReadLedger(remediate.Options{Dir: dir, Own: d.own})
	if err != nil || len(l.Entries) == 0 {
		return err
	}
	return refuse(errors.New("the ledger of this host has changed values already; a drill would restore them, too"), "ctwarden revert")
}

// open makes the agent. After an error, no value is changed.
func (d *run) open(ctx context.Context, o agent.Options) error {
	a, err := agent.New(ctx, o)
	if errors.Is(err, remediate.ErrLocked) {
		return refuse(fmt.Errorf("a daemon runs on this host, and --host-wide needs its ledger: %w", err),
			"ctwarden drill   # without --host-wide nothing outside its namespace is written",
			"systemctl stop ctwarden")
	}
	if err != nil {
		return err
	}
	if d.HostWide && !a.Kernel().Can(0).MaxWritable {
		return errors.Join(refuse(errors.New("nf_conntrack_max is not writable here, so --host-wide can't raise it"),
			"ctwarden drill   # without --host-wide the raise is only planned"), a.Close())
	}
	d.agent = a
	return nil
}

// drillLimits are the configured ones with shorter times: a drill lasts for seconds. One
// raise is enough to see.
func (d *run) drillLimits() policy.Limits {
	l := d.Config.Limits
	l.Mode = policy.Enforce
	l.NoHostWide = !d.HostWide
	l.Verify.Settle = settle
	l.Raise.Ceiling = min(l.Raise.Ceiling, 2*d.initial.Host["nf_conntrack_max"])
	return l
}

// flood sends traffic and runs the agent until every action was seen.
func (d *run) flood(ctx context.Context) (err error) {
	flood, err := sandbox.NewFlood(d.sandbox.NS)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flood.Close()) }()
	flows, err := sandbox.NewLongConns(d.sandbox.NS, longConnCount)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flows.Close()) }()
	shorts, err := sandbox.NewShortConns(d.sandbox)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shorts.Close()) }()
	traffic, calm := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { flows.Run(traffic, 50*time.Millisecond) })
	running.Go(func() { shorts.Run(traffic, shortConnRate) })
	running.Go(func() { d.counts.floodErr = flood.Run(traffic, d.rate, d.rate*uint64(timeLimit/time.Second)) })
	running.Go(func() { d.agent.Run(traffic) })
	d.Progress.Begin(Plan{
		NetNS: d.sandbox.NS.Inode(), Rate: d.rate, ShortRate: shortConnRate, LongConns: longConnCount,
		Max: d.initial.Host["nf_conntrack_max"], HostWide: d.HostWide,
	})
	d.watch(traffic, flood)
	d.counts.stop()
	calm()
	running.Wait()
	d.counts.Sent, d.counts.Refused = flood.Sent.Load(), flood.Refused.Load()
	d.counts.Alive, d.counts.LongConns = flows.Alive()
	d.counts.RoundTrips, d.counts.Slowest = flows.RoundTrips.Load(), time.Duration(flows.Slowest.Load())
	d.counts.ShortConns = shorts.Made.Load()
	return errors.Join(d.counts.floodErr, interrupted(ctx))
}

// watch reports the fill once a second until every action was seen or the time is up.
func (d *run) watch(ctx context.Context, flood *sandbox.Flood) {
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			s := d.agent.Status()
			d.Progress.Fill(&s, flood.Refused.Load())
			if d.counts.complete() {
				return
			}
		}
	}
}

// record counts a record and passes it on.
func (d *run) record(r audit.Record) {
	d.counts.add(r)
	d.Progress.Record(r)
}
