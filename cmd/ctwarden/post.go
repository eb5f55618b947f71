package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/daemon"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/nfct"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// A post is ctwarden at its place: the loop, and everything it acts through.
// run and drill stand the same post, in different namespaces.
type post struct {
	limits policy.Limits
	look   *lookout
	kernel *remediate.Kernel
	kmsg   *watcher.Kmsg
	log    *audit.Log
	say    *slog.Logger
	lines  chan daemon.Line
	loop   *daemon.Daemon
	// told, save and alive may be nil. told is told of every record.
	told  func(audit.Record)
	save  func(map[uint32]daemon.Kept) error
	alive func()
}

// man wires the loop: it watches through look, acts through kernel and records
// in log.
func (p *post) man(kept map[uint32]daemon.Kept) {
	p.lines = make(chan daemon.Line, 64)
	p.look.can = p.kernel.Can
	p.loop = daemon.New(daemon.Edges{
		Now:     clock,
		Observe: p.observe,
		Apply:   p.apply,
		Record:  p.record,
		Yield:   p.kernel.Yield,
		Writer:  func(sysctl string, value uint64) string { return watcher.LikelyWriter("", sysctl, value) },
		Census:  p.census,
		Trouble: p.trouble,
		Save:    p.save,
		Alive:   p.alive,
	}, p.limits, p.lines, kept)
}

// run runs the loop and what it listens to until ctx is done.
func (p *post) run(ctx context.Context) {
	listening, stop := context.WithCancel(ctx)
	heard := make(chan struct{})
	if p.kmsg != nil {
		go func() { defer close(heard); p.hear(listening) }()
	} else {
		close(heard)
	}
	p.loop.Run(ctx)
	stop()
	<-heard
}

func (p *post) observe(ctx context.Context) ([]policy.Observation, error) {
	o, err := p.look.observe(ctx)
	if err != nil {
		return nil, err
	}
	if !o.Absent {
		p.kernel.Saw(o.Table.NetNS, o.Timeouts)
	}
	return []policy.Observation{o}, nil
}

func (p *post) apply(ctx context.Context, incident string, act policy.Action) policy.Outcome {
	defer p.look.refresh()
	return p.kernel.Apply(ctx, incident, act)
}

func (p *post) record(kind audit.Kind, payload any) error {
	record, err := p.log.Append(kind, payload)
	if err == nil && p.told != nil {
		p.told(record)
	}
	return err
}

// trouble tells once of an error that the loop lives with, and once that it is
// over.
func (p *post) trouble(what string, err error) {
	if err == nil {
		p.say.Info(what + ": fine again")
		return
	}
	p.say.Error(what, "error", err)
}

// hear passes on what the kernel log says about full tables.
func (p *post) hear(ctx context.Context) {
	signals := make(chan watcher.Signal)
	ended := make(chan struct{})
	go func() { defer close(ended); p.kmsg.Run(ctx, signals) }()
	for {
		select {
		case <-ended:
			return
		case s := <-signals:
			if s.Kind != nfct.TableFull {
				continue
			}
			line := daemon.Line{
				NetNS: s.NetNS, Named: s.Named, Count: s.Count,
				Source: string(s.Source), Lost: s.Lost,
			}
			select {
			case p.lines <- line:
			case <-ctx.Done():
			}
		}
	}
}

// The daemon's own look into a table is bounded: it is to say what the table
// is made of, not to count every entry.
const censusBox = 250 * time.Millisecond

// idleRounding is by how much the timeout less the remaining time can lie above
// the true idle time: a dump tells whole seconds. What is called deletable here
// is what remediate deletes.
const idleRounding = 2 * time.Second

// census looks into the table of the post's namespace.
func (p *post) census(ctx context.Context, o policy.Observation) (_ census.Summary, err error) {
	defer p.kernel.Dumping()()
	conn, err := ctnetlink.Dial(p.look.ns)
	if err != nil {
		return census.Summary{}, fmt.Errorf("look into table: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	count := census.Count{
		Timeouts: o.Timeouts,
		MinIdle:  p.limits.Delete.MinIdle + idleRounding, SynSentIdle: p.limits.Delete.SynSentIdle + idleRounding,
		Remaining: p.limits.Shorten.Floors[nfct.TCPTimeWait],
	}
	dumped, err := conn.Dump(ctx, ctnetlink.Query{Box: censusBox}, func(e *nfct.Entry, _ *ctnetlink.Key) bool {
		count.Add(e)
		return true
	})
	if err != nil {
		return census.Summary{}, fmt.Errorf("look into table: %w", err)
	}
	count.Summary.Sampled = dumped.Stop != ctnetlink.Complete
	return count.Summary, nil
}

// openKernel makes ready to act: it proves what the kernel can do, takes the
// lock of the ledger, and finds out what is still claimed.
func openKernel(ctx context.Context, o remediate.Options, own *netns.NS) (*remediate.Kernel, remediate.Claims, error) {
	features, err := ctnetlink.Probe(ctx, own)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) && features == (ctnetlink.Features{}) {
		// Without CAP_NET_ADMIN, or without ctnetlink, entries are left alone;
		// the rest may still work.
		features = ctnetlink.Features{}
	}
	o.Own, o.Features = own, features
	kernel, err := remediate.Open(o)
	if err != nil {
		return nil, remediate.Claims{}, err
	}
	claims, err := kernel.Reconcile(ctx)
	if err != nil {
		return nil, claims, errors.Join(err, kernel.Close())
	}
	return kernel, claims, nil
}
