package agent

import (
	"context"
	"errors"
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

// Options are the options of an Agent. All are required but the optional ones.
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
	// Remediate has the directory of the ledger and the protected entries. New sets
	// Own, and Find if actions in other namespaces are permitted.
	Remediate remediate.Options
	// KernelLog has the sources to read; it may have none.
	KernelLog watcher.KernelLog
	// Log is the audit log, which the caller closes after the Agent.
	Log    *audit.Log
	Logger *slog.Logger
	// Jitter is the position of this host in its fleet; 0 for a single host.
	Jitter conntrack.Permyriad
	// Mask masks the addresses in records. The zero Mask leaves them as they are.
	Mask Mask
	// Snapshot is the state that an earlier run of this boot saved. Optional.
	Snapshot map[uint32]loop.Snapshot
	// OnRecord is called with every record. Optional.
	OnRecord func(audit.Record)
	// Save saves the state for the next start. Optional.
	Save func(map[uint32]loop.Snapshot) error
	// Heartbeat is called by the loop at every step, and at least every Beat while
	// it waits. Optional.
	Heartbeat      func()
	HeartbeatEvery time.Duration
}

// An Agent is the loop with its inputs and outputs. Make one with New; Run it once.
type Agent struct {
	log       *audit.Log
	logger    *slog.Logger
	onRecord  func(audit.Record)
	mask      Mask
	jitter    conntrack.Permyriad
	sampler   *watcher.Sampler
	kernelLog watcher.KernelLog
	// namespaces are the other ones of the host; nil if they are not watched.
	namespaces *watcher.Namespaces
	kernel     *remediate.Kernel
	loop       *loop.Loop
	// probed is set when a table existed and the features of ctnetlink were probed.
	// Only the loop uses it.
	probed bool
}

// New locks the ledger, reconciles it with the kernel, records the start, and makes
// the loop. It writes nothing to the kernel. It returns the errors of remediate.Open
// and Reconcile.
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

// initialSnapshots returns the state that the loop begins with: the saved snapshots
// and the claims of the ledger. A namespace with an open incident or a claim is
// watched from the start; of the others the loop gets the snapshot only.
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

// Status returns the status after the last turn of the loop.
func (a *Agent) Status() loop.Status { return a.loop.Status() }

// Kernel returns the writer that applies the Agent's actions.
func (a *Agent) Kernel() *remediate.Kernel { return a.kernel }

// CloseIncidents closes every open incident and records why, as in "drill
// finished". Call it after Run, see loop.Loop.CloseIncidents.
func (a *Agent) CloseIncidents(why string) { a.loop.CloseIncidents(why) }

// Close unlocks the ledger and closes what New opened. It does not change the kernel.
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
		// A probe loads nf_conntrack, so it waits for a table: a host without one must
		// stay without. A feature whose probe failed is not used.
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

// reportLimits logs once which actions this process lacks permission for. It needs a
// table: without one, nothing is writable.
func (a *Agent) reportLimits() {
	can := a.kernel.Can(0)
	if !can.MaxWritable || !can.TimeoutsWritable {
		a.logger.Warn("some kernel values are not writable; actions that need them are blocked",
			"max", can.MaxWritable, "buckets", can.BucketsWritable, "timeouts", can.TimeoutsWritable,
			"needs", "CAP_NET_ADMIN in the host's network namespace, and /proc/sys writable")
	}
	if !can.Entries {
		a.logger.Warn("entries can't be listed: ctwarden deletes and ages none", "needs", "CAP_NET_ADMIN and nf_conntrack_netlink")
	}
}

// name returns the display name of another namespace.
func (a *Agent) name(inode uint32) string {
	if a.namespaces == nil {
		return (&watcher.Namespace{Inode: inode}).Name()
	}
	return a.namespaces.Name(inode)
}

// capabilities returns the permitted writes in a namespace.
func (a *Agent) capabilities(inode uint32) policy.Kernel { return a.kernel.Can(inode) }

// claimed reports whether the ledger has a value of a namespace.
func (a *Agent) claimed(inode uint32) bool {
	return slices.ContainsFunc(a.kernel.Ledger().Entries, func(e remediate.Row) bool { return e.NetNS == inode })
}

func (a *Agent) apply(ctx context.Context, incident string, act policy.Action) policy.Outcome {
	defer a.refresh()
	out := a.kernel.Apply(ctx, incident, act)
	a.mask.outcome(&out)
	return out
}

// refresh makes the next observation read every value, after a change.
func (a *Agent) refresh() {
	a.sampler.Refresh()
	if a.namespaces != nil {
		a.namespaces.Refresh()
	}
}

// recordStart records the start and the limits, which every plan refers to by digest.
func (a *Agent) recordStart(o *Options, notes []record.Note) error {
	limits := &o.Config.Limits
	return errors.Join(
		a.Record(&record.Start{
			Version: o.Version, Kernel: watcher.KernelRelease(), Boot: o.Boot, Mode: limits.Mode.String(), Ledger: notes,
		}),
		a.Record(&record.Config{
			Digest: limits.Digest(), Limits: *limits, Changes: config.Diff(config.Default(), *o.Config),
			Text: "the limits in force",
		}),
	)
}

// Record describes a payload and appends it to the audit log. After an error, it
// is not durable.
func (a *Agent) Record(payload record.Payload) error {
	record.Describe(payload)
	r, err := a.log.Append(payload)
	if err == nil && a.onRecord != nil {
		a.onRecord(r)
	}
	return err
}

// reportError logs an error that the loop continues after, or, if err is nil, its end.
func (a *Agent) reportError(what string, err error) {
	if err == nil {
		a.logger.Info(what + ": works again")
		return
	}
	a.logger.Error(what, "error", err)
}

// drain returns the kernel log's signals since the last call, and schedules a sweep of
// the namespaces that they name.
func (a *Agent) drain() []policy.Signal {
	signals := a.kernelLog.Inbox.Drain()
	if a.namespaces != nil {
		for i := range signals {
			a.namespaces.SweepSoon(signals[i].NetNS)
		}
	}
	return signals
}

// patterns returns the patterns of the namespaces to watch.
func patterns(cfg *config.Config) watcher.Patterns {
	return watcher.Patterns{Include: cfg.NetNS.Include, Exclude: cfg.NetNS.Exclude}
}

// openInbox makes the inbox of the kernel log, and has missed lines recorded.
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

// recordMissed records kernel lines from the time when ctwarden did not read the log.
// They are too old to act on.
func (a *Agent) recordMissed(source watcher.Source, m watcher.Missed) {
	err := a.Record(&record.Missed{
		Source: string(source), Count: m.Count, First: m.First, Last: m.Last, Boot: m.Boot, Lost: m.Lost,
	})
	if err != nil {
		a.logger.Error("record missed kernel lines", "error", err)
	}
}
