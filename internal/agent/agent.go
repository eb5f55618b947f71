package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// Options are what an Agent is made of. All are needed but those that say
// otherwise.
type Options struct {
	Version string
	// Boot is the kernel's name for this boot.
	Boot string
	// Config has the limits, and the patterns of the namespaces to watch.
	Config *config.Config
	// Own is the namespace of the process, Table the one whose table is watched:
	// the same, or a sandbox. The caller closes both after the Agent.
	Own, Table *netns.NS
	// Namespaces has the other namespaces of the host watched, too.
	Namespaces bool
	// Remediate is where the ledger is and what is protected; New fills in Own,
	// and Find where other namespaces are watched and may be acted in.
	Remediate remediate.Options
	// KernelLog has the sources to read; none is permitted.
	KernelLog watcher.KernelLog
	// Log is the audit log, which the caller closes after the Agent.
	Log    *audit.Log
	Logger *slog.Logger
	// Jitter is where this host stands in its fleet; 0 for one that is alone.
	Jitter conntrack.Permyriad
	// Mask is how addresses come into the record. The zero Mask leaves them.
	Mask Mask
	// Snapshot is what an earlier run of this boot remembered. Optional.
	Snapshot map[uint32]loop.Snapshot
	// OnRecord is called with every record. Optional.
	OnRecord func(audit.Record)
	// Save keeps what the next start should know. Optional.
	Save func(map[uint32]loop.Snapshot) error
	// Heartbeat is called by the loop at every step, and at least every Beat while
	// it waits. Optional.
	Heartbeat      func()
	HeartbeatEvery time.Duration
}

// An Agent is the loop and all that it acts through. Make one with New; Run it
// once.
type Agent struct {
	log       *audit.Log
	logger    *slog.Logger
	onRecord  func(audit.Record)
	mask      Mask
	jitter    conntrack.Permyriad
	sampler   *watcher.Sampler
	kernelLog watcher.KernelLog
	// namespaces are the others of the host; nil: they are not watched.
	namespaces *watcher.Namespaces
	kernel     *remediate.Kernel
	loop       *loop.Loop
	// probed says that there was a table, and that kernel knows what ctnetlink
	// can do. It is the loop's.
	probed bool
}

// New takes the lock of the ledger, finds out what is still claimed, records
// the start, and wires the loop. Nothing is written to the kernel before Run.
// The errors of remediate.Open and Reconcile are passed on.
func New(ctx context.Context, o Options) (_ *Agent, err error) {
	a := &Agent{
		log: o.Log, logger: o.Logger, onRecord: o.OnRecord, mask: o.Mask, jitter: o.Jitter,
		sampler: watcher.NewSampler(o.Table, o.Table != o.Own), kernelLog: o.KernelLog,
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	o.Remediate.Own = o.Own
	if o.Namespaces {
		a.namespaces = watcher.NewNamespaces(o.Own, patterns(o.Config), a.capabilities, a.claimed)
		if o.Config.NetNS.Act {
			o.Remediate.Find = a.namespaces.Open
		}
	}
	a.openInbox()
	if a.kernel, err = remediate.Open(o.Remediate); err != nil {
		return nil, err
	}
	a.sampler.Writable = a.kernel.Can
	claims, err := a.kernel.Reconcile(ctx)
	if err != nil {
		return nil, err
	}
	for i := range claims.Notes {
		a.logger.Info(claims.Notes[i].Sentence())
	}
	if err := a.recordStart(&o, claims.Notes); err != nil {
		return nil, err
	}
	a.loop = a.newLoop(&o, a.initialSnapshots(o.Snapshot, &claims))
	return a, nil
}

func (a *Agent) newLoop(o *Options, begin map[uint32]loop.Snapshot) *loop.Loop {
	return loop.New(loop.Deps{
		Own:            a.sampler.NetNS().Inode(),
		Now:            watcher.Now,
		Observe:        a.observe,
		Wake:           a.kernelLog.Inbox.Wake(),
		Drain:          a.drain,
		Apply:          a.apply,
		Record:         a.Record,
		Yield:          a.kernel.Yield,
		LikelyWriter:   func(sysctl string, value uint64) string { return watcher.LikelyWriter("", sysctl, value) },
		Name:           a.name,
		Census:         a.takeCensus,
		ReportError:    a.reportError,
		Save:           o.Save,
		Heartbeat:      o.Heartbeat,
		HeartbeatEvery: o.HeartbeatEvery,
	}, o.Config.Limits, begin)
}

// initialSnapshots returns what the loop begins with: what an earlier run remembered, and
// what stands in the ledger. A namespace that had an incident, or has a claim,
// is watched from the start; of the others the loop knows what they did.
func (a *Agent) initialSnapshots(kept map[uint32]loop.Snapshot, claims *remediate.Claims) map[uint32]loop.Snapshot {
	begin := map[uint32]loop.Snapshot{0: kept[0]}
	maps.Copy(begin, kept)
	for netns := range claims.Timeouts {
		begin[netns] = kept[netns]
	}
	for netns, k := range begin {
		_, claimed := claims.Timeouts[netns]
		if netns != 0 && a.namespaces != nil && (claimed || k.Incident != "") {
			_, _ = a.namespaces.Open(netns) // the loop closes the incident of one that is gone
		}
		claims.Seed(&k.State, netns)
		begin[netns] = k
	}
	return begin
}

// Run runs the loop and reads the kernel log until ctx is done.
func (a *Agent) Run(ctx context.Context) {
	var group errgroup.Group
	group.Go(func() error { a.kernelLog.Run(ctx); return nil })
	a.loop.Run(ctx)
	_ = group.Wait() // the kernel log has no error
}

// Status returns how things stood after the last turn of the loop.
func (a *Agent) Status() loop.Status { return a.loop.Status() }

// Kernel is what the Agent acts on.
func (a *Agent) Kernel() *remediate.Kernel { return a.kernel }

// CloseIncidents ends every open incident and records why, as in "drill
// finished". It comes after Run, see loop.Loop.CloseIncidents.
func (a *Agent) CloseIncidents(why string) { a.loop.CloseIncidents(why) }

// Close gives the ledger's lock back and closes what New opened. It leaves the
// kernel as it is.
func (a *Agent) Close() error {
	var errs []error
	if a.kernel != nil {
		errs = append(errs, a.kernel.Close())
	}
	if a.namespaces != nil {
		errs = append(errs, a.namespaces.Close())
	}
	return errors.Join(append(errs, a.sampler.Close())...)
}

func (a *Agent) observe(ctx context.Context) ([]policy.Observation, error) {
	o, err := a.sampler.Observe()
	if err != nil {
		return nil, err
	}
	if !o.Absent && !a.probed {
		// A probe loads nf_conntrack, so there is none before there is a table: a
		// host without one is to stay without. What an error leaves out is
		// unknown, and not used.
		features, _ := ctnetlink.Probe(ctx, a.sampler.NetNS())
		a.kernel.SetFeatures(features)
		a.probed = true
		a.reportLimits()
	}
	all := []policy.Observation{o}
	if a.namespaces != nil {
		all = append(all, a.namespaces.Observe(&all[0])...)
	}
	for i := range all {
		all[i].Jitter = a.jitter
		if !all[i].Absent && all[i].Timeouts != (conntrack.Timeouts{}) {
			a.kernel.ObserveTimeouts(all[i].Table.NetNS, all[i].Timeouts)
		}
	}
	return all, nil
}

// reportLimits logs once what this process may not do, and what it takes. It is
// for when there is a table: nothing can be written before.
func (a *Agent) reportLimits() {
	can := a.kernel.Can(0)
	if !can.MaxWritable || !can.TimeoutsWritable {
		a.logger.Warn("some kernel values can't be written, and what needs them is held",
			"max", can.MaxWritable, "buckets", can.BucketsWritable, "timeouts", can.TimeoutsWritable,
			"needs", "CAP_NET_ADMIN in the host's network namespace, and /proc/sys writable")
	}
	if !can.Entries {
		a.logger.Warn("entries can't be listed, and nothing is deleted or aged", "needs", "CAP_NET_ADMIN and nf_conntrack_netlink")
	}
}

// name is what people call another namespace.
func (a *Agent) name(inode uint32) string {
	if a.namespaces == nil {
		return (&watcher.Namespace{Inode: inode}).Name()
	}
	return a.namespaces.Name(inode)
}

// capabilities reports what may be written in a namespace.
func (a *Agent) capabilities(inode uint32) policy.Kernel { return a.kernel.Can(inode) }

// claimed reports whether a value of a namespace stands in the ledger.
func (a *Agent) claimed(inode uint32) bool {
	return slices.ContainsFunc(a.kernel.Ledger().Entries, func(e remediate.Row) bool { return e.NetNS == inode })
}

func (a *Agent) apply(ctx context.Context, incident string, act policy.Action) policy.Outcome {
	defer a.refresh()
	out := a.kernel.Apply(ctx, incident, act)
	a.mask.outcome(&out)
	return out
}

// refresh has the next observation read everything: something was changed.
func (a *Agent) refresh() {
	a.sampler.Refresh()
	if a.namespaces != nil {
		a.namespaces.Refresh()
	}
}

// recordStart records who begins, and under which limits: every plan names
// theirs.
func (a *Agent) recordStart(o *Options, notes []record.Note) error {
	limits := &o.Config.Limits
	return errors.Join(
		a.Record(&record.Start{
			Version: o.Version, Kernel: watcher.KernelRelease(), Boot: o.Boot, Mode: limits.Mode.String(), Ledger: notes,
			Text: fmt.Sprintf("ctwarden %s starts on Linux %s, mode %s", o.Version, watcher.KernelRelease(), limits.Mode),
		}),
		a.Record(&record.Config{
			Digest: limits.Digest(), Limits: *limits, Changes: config.Diff(config.Default(), *o.Config),
			Text: "the limits in force",
		}),
	)
}

// Record makes a record durable. An error means that it is not.
func (a *Agent) Record(payload record.Payload) error {
	r, err := a.log.Append(payload)
	if err == nil && a.onRecord != nil {
		a.onRecord(r)
	}
	return err
}

// reportError logs once an error that the loop lives with, and once that it is over.
func (a *Agent) reportError(what string, err error) {
	if err == nil {
		a.logger.Info(what + ": fine again")
		return
	}
	a.logger.Error(what, "error", err)
}

// drain returns what the kernel said since the last call, and has the
// namespaces that it named swept.
func (a *Agent) drain() []policy.Signal {
	signals := a.kernelLog.Inbox.Drain()
	if a.namespaces != nil {
		for i := range signals {
			a.namespaces.SweepSoon(signals[i].NetNS)
		}
	}
	return signals
}

// patterns are those of the namespaces to watch.
func patterns(cfg *config.Config) watcher.Patterns {
	return watcher.Patterns{Include: cfg.NetNS.Include, Exclude: cfg.NetNS.Exclude}
}

// openInbox gives the kernel log its inbox, and records what its sources missed.
func (a *Agent) openInbox() {
	l := &a.kernelLog
	l.Inbox = watcher.NewInbox()
	if l.Kmsg != nil {
		l.Kmsg.OnMissed = func(m watcher.Missed) { a.recordMissed(watcher.SourceKmsg, m) }
	}
	if l.Journald != nil {
		l.Journald.OnMissed = func(m watcher.Missed) { a.recordMissed(watcher.SourceJournald, m) }
	}
}

// recordMissed records what the kernel said while nobody listened. It is too late to
// act on it.
func (a *Agent) recordMissed(source watcher.Source, m watcher.Missed) {
	text := fmt.Sprintf("while ctwarden was not listening the kernel said %d times that a table was full, the last time at %s",
		m.Count, m.Last.UTC().Format(time.RFC3339))
	if m.Lost > 0 {
		text += fmt.Sprintf("; before, %d lines of its log were overwritten unread", m.Lost)
	}
	err := a.Record(&record.Missed{
		Source: string(source), Count: m.Count, First: m.First, Last: m.Last, Boot: m.Boot, Lost: m.Lost, Text: text,
	})
	if err != nil {
		a.logger.Error("record what was missed", "error", err)
	}
}
