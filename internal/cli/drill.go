package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/sandbox"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

func newDrill() *cobra.Command {
	var hostWide, asJSON bool
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "a fire drill on this kernel: flood, detect, act, verify, clean up",
		Long: `Drill makes a network namespace of its own, floods its table with real packets,
and lets the daemon's loop deal with it: it deletes entries and shortens
timeouts there, and there only. A few long-lived connections carry data
throughout; they must survive.

nf_conntrack_max is one number for the whole host. Without --host-wide it is not
touched: raising it is told as "would". With --host-wide it is really raised,
and put back at the end. Ctrl-C cleans up at any moment.`,
		Example: `  ctwarden drill
  ctwarden drill --host-wide   # raises max for real, and puts it back`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(source(cmd))
			if err != nil {
				return err
			}
			e := &exercise{version: cmd.Root().Version, cfg: cfg, hostWide: hostWide, tell: teller{w: cmd.OutOrStdout(), json: asJSON}}
			return e.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&hostWide, "host-wide", false, "really raise nf_conntrack_max, and put it back")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the audit records instead of a timeline")
	return cmd
}

// What the drill does to the daemon's limits and to the table. The daemon
// waits for longer between two acts than a drill has time for.
const (
	drillSettle  = 2 * time.Second
	drillLongest = 90 * time.Second
	drillFlows   = 8
	drillShorts  = 200 // short connections a second
	// The flood fills the present max in about so many seconds, so that the
	// forecast has something to see, and neither in less nor in more packets
	// a second than is sane.
	drillFill                = 12
	drillSlowest, drillBrisk = 2_000, 60_000
)

// An exercise is one drill.
type exercise struct {
	version  string
	cfg      *config.Config
	hostWide bool
	tell     teller

	own    *netns.NS
	stage  *sandbox.Sandbox
	look   *watcher.Sampler
	log    *audit.Log
	agent  *agent.Agent
	dir    string
	before sandbox.Values
	rate   uint64
	score  score
}

func (e *exercise) run(ctx context.Context) (err error) {
	ctx, stop := context.WithTimeout(ctx, drillLongest)
	defer stop()
	if err := e.prepare(ctx); err != nil {
		return errors.Join(err, e.cleanUp())
	}
	defer func() { err = errors.Join(err, e.cleanUp()) }()
	if err := e.rehearse(ctx); err != nil {
		return err
	}
	if err := e.putBack(); err != nil {
		return err
	}
	return e.verdict(ctx)
}

// prepare makes the stage and mans the post; nothing was written yet when it
// fails.
func (e *exercise) prepare(ctx context.Context) (err error) {
	if e.own, err = netns.Current(); err != nil {
		return err
	}
	if e.stage, err = sandbox.New(); err != nil {
		return hint(err, "sudo ctwarden drill   # a namespace and a rule in it need root")
	}
	e.look = watcher.NewSampler(e.stage.NS, true)
	o, err := e.look.Observe()
	if err != nil {
		return err
	}
	if err := e.check(&o); err != nil {
		return err
	}
	if e.before, err = sandbox.ReadValues(e.own, e.stage.NS); err != nil {
		return err
	}
	e.rate = min(max(o.Table.Max/drillFill, drillSlowest), drillBrisk)
	if e.dir, err = os.MkdirTemp("", "ctwarden-drill-"); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	return e.man(ctx)
}

// check refuses a drill that this host can't bear or that can't show anything.
func (e *exercise) check(o *policy.Observation) error {
	switch needs, free := o.Table.Max*(uint64(o.Memory.EntryBytes)+256), o.Memory.Available; {
	case o.Absent:
		return hint(errors.New("nf_conntrack is not there"), "modprobe nf_conntrack")
	case o.Table.Max == 0:
		return hint(errors.New("nf_conntrack_max is 0: a table without a limit can't fill"), "ctwarden simulate max_zero   # what would be done")
	case needs > free/10:
		return hint(fmt.Errorf("filling %d entries needs %d MiB, more than a tenth of the %d MiB that are free",
			o.Table.Max, needs>>20, free>>20), "ctwarden simulate syn_flood   # the same without a kernel")
	case o.Table.Max > drillBrisk*25:
		return hint(fmt.Errorf("nf_conntrack_max is %d: a drill's flood, whose entries live for 30 s, would not fill it", o.Table.Max),
			"ctwarden simulate syn_flood   # the same without a kernel")
	}
	return nil
}

// man makes the agent that works on the sandbox.
func (e *exercise) man(ctx context.Context) (err error) {
	hurried := *e.cfg
	hurried.Limits = e.limits()
	if e.log, err = audit.Open(filepath.Join(e.dir, "audit.jsonl"), audit.Options{}); err != nil {
		return err
	}
	o := remediate.Options{
		Dir: e.dir, Hash: hurried.Limits.Hash, Protect: e.cfg.Protect, Fleeting: e.stage.NS.Inode(),
		Find: func(inode uint32) (*netns.NS, error) {
			if inode != e.stage.NS.Inode() {
				return nil, os.ErrNotExist
			}
			return e.stage.NS, nil
		},
	}
	if e.hostWide {
		// What is changed for the whole host stands in the host's ledger, so
		// that "ctwarden revert" finds it should the drill be killed.
		o.Dir = e.cfg.State.Dir
		if err := os.MkdirAll(o.Dir, 0o750); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
		if err := e.untouched(o.Dir); err != nil {
			return err
		}
	}
	boot, err := remediate.BootID("")
	if err != nil {
		return err
	}
	return e.open(ctx, agent.Options{
		Version: e.version, Boot: boot, Config: &hurried, Own: e.own, Table: e.stage.NS, Remediate: o,
		KernelLog: watcher.KernelLog{Kmsg: watcher.NewKmsg()}, Log: e.log, Logger: voiceLog(io.Discard), OnRecord: e.record,
	})
}

// untouched refuses the ledger of a daemon that is stopped and has changed
// values: at its end the drill puts back all that stands there, and what is in
// other namespaces it can't find.
func (e *exercise) untouched(dir string) error {
	l, err := remediate.ReadLedger(remediate.Options{Dir: dir, Own: e.own})
	if err != nil || len(l.Entries) == 0 {
		return err
	}
	return hint(errors.New("ctwarden has changed values of this host already; a drill would mix its own with them"), "ctwarden revert")
}

// open makes the agent. With an error, nothing was written and there is nothing
// to put back.
func (e *exercise) open(ctx context.Context, o agent.Options) error {
	a, err := agent.New(ctx, o)
	if errors.Is(err, remediate.ErrLocked) {
		return hint(fmt.Errorf("a daemon runs on this host, and --host-wide would get in its way: %w", err),
			"ctwarden drill   # without --host-wide nothing outside its namespace is written",
			"systemctl stop ctwarden")
	}
	if err != nil {
		return err
	}
	if e.hostWide && !a.Kernel().Can(0).MaxWritable {
		return errors.Join(hint(errors.New("nf_conntrack_max can't be written here, so that --host-wide can't raise it"),
			"ctwarden drill   # without --host-wide it is only told"), a.Close())
	}
	e.agent = a
	return nil
}

// limits are the configured ones, hurried: a drill lasts for seconds. One
// raise is enough to see.
func (e *exercise) limits() policy.Limits {
	l := e.cfg.Limits
	l.Mode = policy.Enforce
	l.NoHostWide = !e.hostWide
	l.Verify.Settle = drillSettle
	l.Raise.Ceiling = min(l.Raise.Ceiling, 2*e.before.Host["nf_conntrack_max"])
	return l
}

// rehearse floods and lets the loop work until everything was seen.
func (e *exercise) rehearse(ctx context.Context) (err error) {
	flood, err := sandbox.NewFlood(e.stage.NS)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flood.Close()) }()
	flows, err := sandbox.NewFlows(e.stage.NS, drillFlows)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flows.Close()) }()
	shorts, err := sandbox.NewShorts(e.stage)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shorts.Close()) }()
	traffic, calm := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { flows.Run(traffic, 50*time.Millisecond) })
	running.Go(func() { shorts.Run(traffic, drillShorts) })
	running.Go(func() { e.score.floodErr = flood.Run(traffic, e.rate, e.rate*uint64(drillLongest/time.Second)) })
	running.Go(func() { e.agent.Run(traffic) })
	e.tell.begin(e)
	e.watch(traffic, flood)
	e.score.end()
	calm()
	running.Wait()
	e.score.sent, e.score.refused = flood.Sent.Load(), flood.Refused.Load()
	e.score.alive, e.score.flows = flows.Alive()
	e.score.trips, e.score.slowest = flows.Trips.Load(), time.Duration(flows.Slowest.Load())
	e.score.shorts = shorts.Made.Load()
	return errors.Join(e.score.floodErr, interrupted(ctx))
}

// watch tells the fill once a second until everything was seen or the time is
// up.
func (e *exercise) watch(ctx context.Context, flood *sandbox.Flood) {
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			s := e.agent.Status()
			e.tell.fill(&s, flood.Refused.Load())
			if e.score.complete() {
				return
			}
		}
	}
}

// record notes what the loop did, and tells it.
func (e *exercise) record(r audit.Record) {
	e.score.note(r)
	e.tell.record(r)
}
