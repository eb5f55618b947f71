package main

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

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/daemon"
	"github.com/ctwarden/ctwarden/internal/metrics"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
)

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "the daemon, in the foreground",
		Long: `Run watches the connection tracking table and keeps it from filling, until
SIGTERM. Stopping leaves the kernel as it is; "ctwarden revert" puts every
value back. SIGHUP loads the configuration anew, or keeps the old one and says
why.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			src := source(cmd)
			cfg, err := config.Load(src)
			if err != nil {
				return err
			}
			return runDaemon(cmd.Context(), src, cfg, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().String("mode", "", "enforce or observe, over the configuration")
	return cmd
}

// runDaemon runs until ctx is done.
func runDaemon(ctx context.Context, src config.Source, cfg *config.Config, stderr io.Writer) (err error) {
	d := &running{src: src, say: voiceLog(stderr)}
	d.cfg.Store(cfg)
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.open(ctx); err != nil {
		return err
	}
	defer d.serve(ctx)()
	go d.reloads(ctx)
	d.post.run(ctx)
	d.notify(sd.SdNotifyStopping)
	return d.post.record(audit.KindStop, stopRecord{"the kernel's values stay as they are"})
}

// running is the daemon with what it has open.
type running struct {
	src   config.Source
	cfg   atomic.Pointer[config.Config]
	say   *slog.Logger
	post  post
	boot  string
	since time.Time
	own   *netns.NS
	ready bool
	tally metrics.Tally
	// reloading is held while one is under way: SIGHUP and the socket may come
	// together.
	reloading sync.Mutex
	// watchdog is how often systemd wants to be told, pinged when it was.
	watchdog time.Duration
	pinged   time.Time
}

type startRecord struct {
	Version string `json:"version"`
	Kernel  string `json:"kernel"`
	Boot    string `json:"boot_id"`
	Mode    string `json:"mode"`
	// Ledger says what became of the values that an earlier run changed.
	Ledger []remediate.Note `json:"ledger,omitempty"`
	Text   string           `json:"text"`
}

type stopRecord struct {
	Text string `json:"text"`
}

type configRecord struct {
	Digest  string          `json:"digest"`
	Limits  policy.Limits   `json:"limits"`
	Changes []config.Change `json:"changes,omitempty"`
	Error   string          `json:"error,omitempty"`
	// By is who asked for it through the socket; SIGHUP has no name.
	By   *daemon.Asked `json:"by,omitempty"`
	Text string        `json:"text"`
}

// open opens everything, the audit log first: no audit, no action.
func (d *running) open(ctx context.Context) (err error) {
	d.since = time.Now()
	cfg := d.cfg.Load()
	if d.boot, err = bootID(); err != nil {
		return err
	}
	for _, dir := range []string{cfg.State.Dir, filepath.Dir(cfg.Audit.Path), filepath.Dir(cfg.Control.Socket)} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	if d.post.log, err = openAudit(cfg, d.say); err != nil {
		return err
	}
	if d.post.masked, err = newMask(cfg.Audit.Mask, cfg.State.Dir); err != nil {
		return err
	}
	if d.own, err = netns.Current(); err != nil {
		return err
	}
	p := &d.post
	p.limits, p.say, p.look = cfg.Limits, d.say, newLookout(d.own, false)
	p.save = func(tables map[uint32]daemon.Kept) error { return writeKeepsake(cfg.State.Dir, d.boot, tables) }
	p.alive, p.told = d.alive, d.tally.Told
	if err := d.openSources(cfg); err != nil {
		return err
	}
	options := remediate.Options{Dir: cfg.State.Dir, Protect: cfg.Protect, Hash: cfg.Limits.Hash}
	if cfg.Watch.NetNS == config.All {
		p.others = newNeighbours(d.own, cfg.NetNS)
		if cfg.NetNS.Act {
			options.Find = p.others.open
		}
	}
	kernel, claims, err := openKernel(ctx, options, d.own)
	if err != nil {
		return hint(err, hintsForLedger(err)...)
	}
	p.kernel = kernel
	d.sayLimits()
	if err := d.recordStart(&claims); err != nil {
		return err
	}
	kept, err := readKeepsake(cfg.State.Dir, d.boot)
	if err != nil {
		d.say.Warn("starting without what was remembered", "error", err)
	}
	p.man(p.resume(kept, &claims))
	d.watchdog, err = sd.SdWatchdogEnabled(false)
	return err
}

func (d *running) recordStart(claims *remediate.Claims) error {
	for i := range claims.Notes {
		d.say.Info(claims.Notes[i].Sentence())
	}
	cfg := d.cfg.Load()
	return errors.Join(
		d.post.record(audit.KindStart, startRecord{
			version, kernelRelease(), d.boot, cfg.Limits.Mode.String(), claims.Notes,
			fmt.Sprintf("ctwarden %s starts on Linux %s, mode %s", version, kernelRelease(), cfg.Limits.Mode),
		}),
		d.post.record(audit.KindConfig, configRecord{
			Digest: cfg.Limits.Digest(), Limits: cfg.Limits, Changes: config.Diff(config.Default(), *cfg),
			Text: "the limits in force",
		}),
	)
}

// sayLimits says once what this process may not do, and what it takes.
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

func (d *running) close() error {
	var errs []error
	if d.post.kernel != nil {
		errs = append(errs, d.post.kernel.Close())
	}
	if d.post.others != nil {
		errs = append(errs, d.post.others.close())
	}
	if d.post.look != nil {
		errs = append(errs, d.post.look.close())
	}
	if d.own != nil {
		errs = append(errs, d.own.Close())
	}
	if d.post.log != nil {
		errs = append(errs, d.post.log.Close())
	}
	return errors.Join(errs...)
}

// alive is called by the loop once a turn.
func (d *running) alive() {
	if !d.ready {
		d.ready = true
		d.notify(sd.SdNotifyReady)
		d.say.Info("watching", "mode", d.cfg.Load().Limits.Mode.String(), "version", version)
	}
	if d.watchdog > 0 && time.Since(d.pinged) >= d.watchdog/2 {
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

// reloads answers SIGHUP until ctx is done.
func (d *running) reloads(ctx context.Context) {
	hups := make(chan os.Signal, 1)
	signal.Notify(hups, syscall.SIGHUP)
	defer signal.Stop(hups)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hups:
		}
		d.notify(fmt.Sprintf("%s\n%s", sd.SdNotifyReloading, sd.SdNotifyMonotonicUsec()))
		if err := d.reload(ctx, nil); err != nil {
			d.say.Error("reload: the old configuration stays", "error", err)
		}
		d.notify(sd.SdNotifyReady)
	}
}

// reload takes a whole new configuration, or none of it.
func (d *running) reload(ctx context.Context, by *daemon.Asked) error {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	old := d.cfg.Load()
	cfg, err := config.Load(d.src)
	if err != nil {
		return errors.Join(err, d.post.record(audit.KindConfig, configRecord{
			Digest: old.Limits.Digest(), Limits: old.Limits, Error: err.Error(), By: by,
			Text: "reload refused: the old configuration stays",
		}))
	}
	changes := config.Diff(*old, *cfg)
	// The record comes first: plans under the new limits name it.
	err = d.post.record(audit.KindConfig, configRecord{
		Digest: cfg.Limits.Digest(), Limits: cfg.Limits, Changes: changes, By: by, Text: "configuration loaded anew",
	})
	if err != nil {
		return err
	}
	if err := d.post.loop.SetLimits(ctx, cfg.Limits); err != nil {
		return err
	}
	d.post.kernel.SetProtect(cfg.Protect)
	d.cfg.Store(cfg)
	d.say.Info("configuration loaded anew", "changes", len(changes))
	return nil
}
