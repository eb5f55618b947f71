package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/metrics"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "the daemon, in the foreground",
		Long: `Run watches the connection tracking table and keeps it from filling, until
SIGTERM. Stopping leaves the kernel as it is; "ctwarden revert" puts every
value back. SIGHUP loads the configuration anew, or keeps the old one and says
why. A start with a wrong configuration ends with the exit code 78, and systemd
does not try again: it would be as wrong as before.`,
		Example: `  ctwarden run
  ctwarden run --mode observe --config ./ctwarden.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			src := source(cmd)
			cfg, err := config.Load(src)
			if _, ok := errors.AsType[config.Problems](err); ok {
				return configError{err}
			}
			if err != nil {
				return err // a disk that can't be read may be mended
			}
			return runDaemon(cmd.Context(), cmd.Root().Version, src, cfg, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().String("mode", "", "enforce or observe, over the configuration")
	return cmd
}

// runDaemon runs until ctx is done.
func runDaemon(ctx context.Context, version string, src config.Source, cfg *config.Config, stderr io.Writer) (err error) {
	// The standard error is journald's, which may stop. Go would end the process
	// at the next line then, whatever systemd has made of the signal.
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	// From the first moment on: until somebody asks for it, SIGHUP kills.
	hups := make(chan os.Signal, 1)
	signal.Notify(hups, syscall.SIGHUP)
	defer signal.Stop(hups)
	d := &running{post: post{version: version}, src: src, say: voiceLog(stderr), begun: cfg}
	d.page = metrics.New(d.snapshot)
	d.cfg.Store(cfg)
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.open(ctx); err != nil {
		return err
	}
	defer d.serve(ctx)()
	var reloads sync.WaitGroup
	reloads.Go(func() { d.reloads(ctx, hups) })
	d.post.run(ctx)
	reloads.Wait() // what it still records comes before the end
	d.notify(sd.SdNotifyStopping)
	return d.post.record(&record.Stop{Text: "the kernel's values stay as they are"})
}

// running is the daemon with what it has open.
type running struct {
	src config.Source
	// cfg is the configuration as it was loaded last, begun the one of the
	// start.
	cfg   atomic.Pointer[config.Config]
	begun *config.Config
	say   *slog.Logger
	post  post
	boot  string
	since time.Time
	own   *netns.NS
	ready bool
	page  *metrics.Page
	// reloading is held while one is under way: SIGHUP and the socket may come
	// together.
	reloading sync.Mutex
	// watchdog is the silence after which systemd takes the daemon for hung, 0
	// if it does not ask; pinged is when it was told.
	watchdog time.Duration
	pinged   time.Time
}

// open opens everything, the audit log first: no audit, no action.
func (d *running) open(ctx context.Context) (err error) {
	d.since = time.Now()
	cfg := d.cfg.Load()
	if d.boot, err = remediate.BootID(""); err != nil {
		return err
	}
	for _, dir := range []string{cfg.State.Dir, filepath.Dir(cfg.Audit.Path), filepath.Dir(cfg.Control.Socket)} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	if d.post.log, err = openAudit(cfg, d.say, d.inForce); err != nil {
		return err
	}
	kept := d.remembered()
	if d.post.masked, err = newMask(cfg.Audit.Mask, cfg.State.Dir); err != nil {
		return err
	}
	if d.own, err = netns.Current(); err != nil {
		return err
	}
	p := &d.post
	p.limits, p.phase, p.say, p.look = cfg.Limits, phaseOf(d.boot), d.say, watcher.NewSampler(d.own, false)
	p.save = func(tables map[uint32]loop.Kept) error { return writeKeepsake(cfg.State.Dir, d.boot, tables) }
	p.alive, p.told = d.alive, d.page.Told
	if err := d.openSources(cfg); err != nil {
		return err
	}
	options := remediate.Options{
		Dir: cfg.State.Dir, Protect: cfg.Protect, Hash: cfg.Limits.Hash,
		Others: func() (remediate.Others, error) { return countOthers(d.own) },
	}
	if cfg.Watch.NetNS == config.All {
		p.others = watcher.NewNamespaces(d.own, patterns(cfg), p.can, p.claimed)
		if cfg.NetNS.Act {
			options.Find = p.others.Open
		}
	}
	kernel, claims, err := openKernel(ctx, options, d.own)
	if err != nil {
		return hint(err, hintsForLedger(err)...)
	}
	p.kernel = kernel
	d.sayReach()
	p.found = d.sayLimits
	if err := d.recordStart(&claims); err != nil {
		return err
	}
	if d.watchdog, err = sd.SdWatchdogEnabled(false); err != nil {
		return fmt.Errorf("ask for the watchdog: %w", err)
	}
	p.beat = d.watchdog / beats
	p.man(p.resume(kept, &claims))
	return nil
}

// beats is how often the loop says that it is alive in the time that the
// watchdog leaves it: systemd is told within twice that, and every step of the
// loop may take half of it.
const beats = 4

func (d *running) recordStart(claims *remediate.Claims) error {
	for i := range claims.Notes {
		d.say.Info(claims.Notes[i].Sentence())
	}
	return d.post.recordStart(d.boot, d.cfg.Load(), claims.Notes)
}

// remembered returns what an earlier run kept, and has the audit log spare the
// incidents that go on.
func (d *running) remembered() map[uint32]loop.Kept {
	kept, err := readKeepsake(d.cfg.Load().State.Dir, d.boot)
	if err != nil {
		d.say.Warn("starting without what was remembered", "error", err)
	}
	var names []string
	for _, k := range kept {
		if k.Incident != "" {
			names = append(names, k.Incident)
		}
	}
	if err := d.post.log.Resume(names...); err != nil {
		d.say.Warn("retention may remove the beginning of an incident that goes on", "error", err)
	}
	return kept
}

// inForce is the record by which the plans behind it are decided again, should
// the one of the start be gone by then.
func (d *running) inForce() record.Payload {
	cfg := d.cfg.Load()
	return &record.Config{Digest: cfg.Limits.Digest(), Limits: cfg.Limits, Text: "the limits in force, for this file of the log"}
}

// recordStart records who begins, and under which limits: every plan names
// theirs.
func (p *post) recordStart(boot string, cfg *config.Config, notes []record.Note) error {
	return errors.Join(
		p.record(&record.Start{
			Version: p.version, Kernel: watcher.KernelRelease(), Boot: boot, Mode: cfg.Limits.Mode.String(), Ledger: notes,
			Text: fmt.Sprintf("ctwarden %s starts on Linux %s, mode %s", p.version, watcher.KernelRelease(), cfg.Limits.Mode),
		}),
		p.record(&record.Config{
			Digest: cfg.Limits.Digest(), Limits: cfg.Limits, Changes: config.Diff(config.Default(), *cfg),
			Text: "the limits in force",
		}),
	)
}

// sayLimits says once what this process may not do, and what it takes. It is
// for when there is a table: nothing can be written before, and to ask loads
// nf_conntrack.
func (d *running) sayLimits() {
	can := d.post.kernel.Can(0)
	if !can.MaxWritable || !can.TimeoutsWritable {
		d.say.Warn("some kernel values can't be written, and what needs them is held",
			"max", can.MaxWritable, "buckets", can.BucketsWritable, "timeouts", can.TimeoutsWritable,
			"needs", "CAP_NET_ADMIN in the host's network namespace, and /proc/sys writable")
	}
	if !can.Entries {
		d.say.Warn("entries can't be listed, and nothing is deleted or aged", "needs", "CAP_NET_ADMIN and nf_conntrack_netlink")
	}
}

// sayReach says what watching other namespaces lacks.
func (d *running) sayReach() {
	if d.cfg.Load().Watch.NetNS == config.All && !mayEnter() {
		d.say.Warn("other network namespaces can't be entered: only those of visible processes are counted, and nothing is shortened, aged or deleted in them",
			"needs", "CAP_SYS_ADMIN and CAP_SYS_PTRACE: /usr/share/ctwarden/netns.conf")
	}
}

func (d *running) close() error {
	var errs []error
	if d.post.kernel != nil {
		errs = append(errs, d.post.kernel.Close())
	}
	if d.post.others != nil {
		errs = append(errs, d.post.others.Close())
	}
	if d.post.look != nil {
		errs = append(errs, d.post.look.Close())
	}
	if d.own != nil {
		errs = append(errs, d.own.Close())
	}
	if d.post.log != nil {
		errs = append(errs, d.post.log.Close())
	}
	return errors.Join(errs...)
}

// alive is called by the loop at every step.
func (d *running) alive() {
	if !d.ready {
		d.ready = true
		d.notify(sd.SdNotifyReady)
		d.say.Info("watching", "mode", d.cfg.Load().Limits.Mode.String(), "version", d.post.version)
	}
	if d.watchdog > 0 && time.Since(d.pinged) >= d.watchdog/beats {
		d.pinged = time.Now()
		d.notify(sd.SdNotifyWatchdog)
	}
}

// notify tells systemd, if it is there.
func (d *running) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.say.Warn("tell systemd", "error", err)
	}
}
