package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// A post is ctwarden at its place: the loop, and everything it acts through.
// run and drill stand the same post, in different namespaces.
type post struct {
	version string
	limits  policy.Limits
	// phase is where this host stands in its fleet; a drill is alone.
	phase  conntrack.Permyriad
	look   *watcher.Sampler
	kernel *remediate.Kernel
	// others are the other namespaces; nil: only look's is watched.
	others    *watcher.Namespaces
	kernelLog watcher.KernelLog
	// unheard says why nobody listens to a source that there could be.
	unheard map[string]string
	log     *audit.Log
	say     *slog.Logger
	loop    *loop.Daemon
	// masked is how addresses come into the record.
	masked mask
	// told, save and alive may be nil. told is told of every record.
	told  func(audit.Record)
	save  func(map[uint32]loop.Kept) error
	alive func()
	// beat is how often alive is called at least.
	beat time.Duration
	// found is called when there is a table for the first time; nil: nobody
	// asks. probed says that it was, and that kernel knows what ctnetlink can
	// do.
	found  func()
	probed bool
}

// man wires the loop: it watches through look, acts through kernel and records
// in log.
func (p *post) man(kept map[uint32]loop.Kept) {
	p.kernelLog.Inbox = watcher.NewInbox()
	p.look.Can = p.kernel.Can
	p.loop = loop.New(loop.Edges{
		Own:     p.look.NetNS().Inode(),
		Now:     watcher.Now,
		Observe: p.observe,
		Wake:    p.kernelLog.Inbox.Wake(),
		Drain:   p.drain,
		Apply:   p.apply,
		Record:  p.record,
		Yield:   p.kernel.Yield,
		Writer:  func(sysctl string, value uint64) string { return watcher.LikelyWriter("", sysctl, value) },
		Name:    p.name,
		Census:  p.census,
		Trouble: p.trouble,
		Save:    p.save,
		Alive:   p.alive,
		Beat:    p.beat,
	}, p.limits, kept)
}

// resume returns what the loop begins with: what an earlier run remembered, and
// what stands in the ledger. A namespace that had an incident, or has a claim,
// is watched from the start; of the others the loop knows what they did.
func (p *post) resume(kept map[uint32]loop.Kept, claims *remediate.Claims) map[uint32]loop.Kept {
	begin := map[uint32]loop.Kept{0: kept[0]}
	maps.Copy(begin, kept)
	for netns := range claims.Timeouts {
		begin[netns] = kept[netns]
	}
	for netns, k := range begin {
		_, claimed := claims.Timeouts[netns]
		if netns != 0 && p.others != nil && (claimed || k.Incident != "") {
			_, _ = p.others.Open(netns) // one that is gone is let go of by the loop
		}
		claims.Seed(&k.State, netns)
		begin[netns] = k
	}
	return begin
}

// run runs the loop and what it listens to until ctx is done.
func (p *post) run(ctx context.Context) {
	listening, stop := context.WithCancel(ctx)
	heard := make(chan struct{})
	go func() { defer close(heard); p.kernelLog.Run(listening) }()
	p.loop.Run(ctx)
	stop()
	<-heard
}

func (p *post) observe(ctx context.Context) ([]policy.Observation, error) {
	o, err := p.look.Observe()
	if err != nil {
		return nil, err
	}
	if !o.Absent && !p.probed {
		// To ask loads nf_conntrack, so nobody asks before there is a table: a
		// host without one is to stay without. What an error leaves out is
		// unknown, and not used.
		features, _ := ctnetlink.Probe(ctx, p.look.NetNS())
		p.kernel.SetFeatures(features)
		p.probed = true
		if p.found != nil {
			p.found()
		}
	}
	all := []policy.Observation{o}
	if p.others != nil {
		all = append(all, p.others.Observe(&all[0])...)
	}
	for i := range all {
		all[i].Phase = p.phase
		if !all[i].Absent && all[i].Timeouts != (conntrack.Timeouts{}) {
			p.kernel.Saw(all[i].Table.NetNS, all[i].Timeouts)
		}
	}
	return all, nil
}

// name is what people call another namespace.
func (p *post) name(inode uint32) string {
	if p.others == nil {
		return (&watcher.Namespace{Inode: inode}).Name()
	}
	return p.others.Name(inode)
}

// can reports what may be written in a namespace.
func (p *post) can(inode uint32) policy.Kernel { return p.kernel.Can(inode) }

// claimed reports whether a value of a namespace stands in the ledger.
func (p *post) claimed(inode uint32) bool {
	return slices.ContainsFunc(p.kernel.Ledger().Entries, func(e remediate.Entry) bool { return e.NetNS == inode })
}

func (p *post) apply(ctx context.Context, incident string, act policy.Action) policy.Outcome {
	defer p.refresh()
	out := p.kernel.Apply(ctx, incident, act)
	p.masked.outcome(&out)
	return out
}

// refresh has everything read again: something was changed.
func (p *post) refresh() {
	p.look.Refresh()
	if p.others != nil {
		p.others.Refresh()
	}
}

func (p *post) record(payload record.Payload) error {
	r, err := p.log.Append(payload)
	if err == nil && p.told != nil {
		p.told(r)
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

// drain returns what the kernel said since the last call, and has the
// namespaces that it named swept.
func (p *post) drain() []policy.Signal {
	signals := p.kernelLog.Inbox.Drain()
	if p.others != nil {
		for i := range signals {
			p.others.Alarm(signals[i].NetNS)
		}
	}
	return signals
}

// missed records what the kernel said while nobody listened. It is too late to
// act on it.
func (p *post) missed(source watcher.Source, m watcher.Missed) {
	text := fmt.Sprintf("while ctwarden was not listening the kernel said %d times that a table was full, the last time at %s",
		m.Count, m.Last.UTC().Format(time.RFC3339))
	if m.Lost > 0 {
		text += fmt.Sprintf("; before, %d lines of its log were overwritten unread", m.Lost)
	}
	err := p.record(&record.Missed{
		Source: string(source), Count: m.Count, First: m.First, Last: m.Last, Boot: m.Boot, Lost: m.Lost, Text: text,
	})
	if err != nil {
		p.say.Error("record what was missed", "error", err)
	}
}

// The daemon's own look into a table is bounded: it is to say what the table
// is made of, not to count every entry.
const censusBox = 250 * time.Millisecond

// topTalkers is how many of each kind of talker go into the record.
const topTalkers = 5

// census looks into the table of a namespace.
func (p *post) census(ctx context.Context, l policy.Limits, o policy.Observation) (_ loop.Look, err error) {
	ns := p.look.NetNS()
	if netns := o.Table.NetNS; netns != 0 && netns != p.look.NetNS().Inode() {
		if ns, err = p.entered(netns); err != nil {
			return loop.Look{}, err
		}
	}
	defer p.kernel.Dumping()()
	conn, err := ctnetlink.Dial(ns)
	if err != nil {
		return loop.Look{}, fmt.Errorf("look into table: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	count := census.New(l.Count(o.Timeouts, p.kernel.Protect()), rand.Uint64())
	dumped, err := conn.Dump(ctx, ctnetlink.Query{Box: censusBox}, func(e *conntrack.Entry, _ *ctnetlink.Key) bool {
		count.Add(e)
		return true
	})
	if err != nil {
		return loop.Look{}, fmt.Errorf("look into table: %w", err)
	}
	if dumped.Resized || dumped.Interrupted {
		return loop.Look{}, errors.New("look into table: the hash was resized meanwhile, which hides entries from a dump")
	}
	look := loop.Look{Summary: count.Summary, Top: count.Top(topTalkers)}
	look.Summary.Sampled = dumped.Stop != ctnetlink.Complete
	p.masked.talkers(&look.Top)
	return look, nil
}

// entered returns another namespace than the own one to look into.
func (p *post) entered(inode uint32) (*netns.NS, error) {
	if p.others == nil {
		return nil, fmt.Errorf("look into netns %d: %w", inode, errors.ErrUnsupported)
	}
	return p.others.Entered(inode)
}

// openKernel makes ready to act: it takes the lock of the ledger, and finds out
// what is still claimed.
func openKernel(ctx context.Context, o remediate.Options, own *netns.NS) (*remediate.Kernel, remediate.Claims, error) {
	o.Own = own
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
