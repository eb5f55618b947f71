package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/coreos/go-systemd/v22/journal"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/metrics"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/remediate"
)

// ServerOptions are the options of a Server. All are needed.
type ServerOptions struct {
	Version string
	// Source is where a reload reads the configuration, Config the one of the start.
	Source config.Source
	Config *config.Config
	Logger *slog.Logger
}

// A Server is the daemon: an Agent on the namespace of the process, and the
// tasks around it.
type Server struct {
	version  string
	boot     string
	since    time.Time
	settings settings
	logger   *slog.Logger
	log      *audit.Log
	agent    *Agent
	exporter *metrics.Exporter
	systemd  *systemd
	// unread has the reason for each source of the kernel log that is not read.
	unread  map[string]string
	closers []func() error
}

// Run runs the daemon until ctx is done. At its end it changes no kernel value. If it
// can't start, the error is a *SourceError, audit.ErrInUse or one of remediate.Open.
func Run(ctx context.Context, o ServerOptions) (err error) {
	// Standard error is a pipe to journald, which may stop. Go would then end the
	// process at the next line, even if systemd ignores the signal.
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	// First of all: without a handler, SIGHUP kills the process.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	s, err := newServer(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	tasksErr := run(ctx, s.logger, s.tasks(hangups), s.ready)
	s.systemd.notify(sd.SdNotifyStopping)
	return errors.Join(tasksErr, s.agent.Record(&record.Stop{Text: "the kernel's values stay as they are"}))
}

// newServer opens all files and sources, the audit log first: no audit, no action.
func newServer(ctx context.Context, o ServerOptions) (_ *Server, err error) {
	cfg := o.Config
	s := &Server{version: o.Version, since: time.Now(), logger: o.Logger, unread: map[string]string{}}
	s.settings.source, s.settings.initial = o.Source, cfg
	s.settings.current.Store(cfg)
	s.exporter = metrics.New(s.Status)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.boot, err = remediate.BootID(""); err != nil {
		return nil, err
	}
	for _, dir := range []string{cfg.State.Dir, filepath.Dir(cfg.Audit.Path), filepath.Dir(cfg.Control.Socket)} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, fmt.Errorf("make directory: %w", err)
		}
	}
	if s.log, err = OpenAudit(cfg, s.logger, s.segmentHeader); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.log.Close)
	kept := s.restoreSnapshot()
	agent, err := s.agentOptions(kept)
	if err != nil {
		return nil, err
	}
	if s.systemd, err = newSystemd(s.logger); err != nil {
		return nil, err
	}
	agent.Heartbeat, agent.HeartbeatEvery = s.systemd.heartbeat, s.systemd.interval()
	if s.agent, err = New(ctx, agent); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.agent.Close)
	s.warnCapabilities()
	return s, nil
}

// agentOptions returns the options of the Server's Agent.
func (s *Server) agentOptions(kept map[uint32]loop.Snapshot) (o Options, err error) {
	cfg := s.settings.initial
	o = Options{
		Version: s.version, Boot: s.boot, Config: cfg, Namespaces: cfg.Watch.NetNS == config.All,
		Log: s.log, Logger: s.logger, Jitter: JitterOf(s.boot), Snapshot: kept, OnRecord: s.exporter.Count,
		Save: func(tables map[uint32]loop.Snapshot) error { return writeSnapshot(cfg.State.Dir, s.boot, tables) },
	}
	if o.Mask, err = newMask(cfg.Audit.Mask, cfg.State.Dir); err != nil {
		return o, err
	}
	own, err := netns.Current()
	if err != nil {
		return o, err
	}
	s.closers = append(s.closers, own.Close)
	o.Own, o.Table = own, own
	if o.KernelLog, err = s.openSources(cfg); err != nil {
		return o, err
	}
	o.Remediate = remediate.Options{
		Dir: cfg.State.Dir, Protect: cfg.Protect, Hash: cfg.Limits.Hash,
		Others: func() (remediate.Others, error) { return CountOthers(own) },
	}
	return o, nil
}

// OpenAudit opens the audit log, with a copy in the journal if journald runs. The
// header returns the record that begins each further file. Optional.
func OpenAudit(cfg *config.Config, logger *slog.Logger, header func() record.Payload) (*audit.Log, error) {
	o := audit.Options{
		SegmentHeader: header,
		SegmentSize:   int64(cfg.Audit.MaxSize), SegmentAge: cfg.Audit.MaxAge,
		KeepSize: int64(cfg.Audit.KeepSize), KeepAge: cfg.Audit.KeepAge,
		Notice: func(err error) { logger.Warn("audit log", "error", err) },
	}
	if journal.Enabled() {
		o.Mirror = new(audit.Journal).Mirror
	}
	return audit.Open(cfg.Audit.Path, o)
}

// restoreSnapshot returns the snapshots of an earlier run, and exempts their open
// incidents from the audit log's retention.
func (s *Server) restoreSnapshot() map[uint32]loop.Snapshot {
	kept, err := readSnapshot(s.settings.initial.State.Dir, s.boot)
	if err != nil {
		s.logger.Warn("starting without the saved state", "error", err)
	}
	var names []string
	for _, k := range kept {
		if k.Incident != "" {
			names = append(names, k.Incident)
		}
	}
	if err := s.log.Resume(names...); err != nil {
		s.logger.Warn("retention may remove the beginning of an open incident", "error", err)
	}
	return kept
}

// segmentHeader returns the limits as a record for the beginning of a segment:
// audit verify needs them when retention has removed the record of the start.
func (s *Server) segmentHeader() record.Payload {
	cfg := s.settings.current.Load()
	return &record.Config{Digest: cfg.Limits.Digest(), Limits: cfg.Limits, Text: "the limits in force, for this file of the log"}
}

// warnCapabilities logs which capabilities are missing for other namespaces.
func (s *Server) warnCapabilities() {
	if s.agent.namespaces != nil && !canEnterNamespaces() {
		s.logger.Warn("other network namespaces can't be entered: ctwarden counts those of visible processes only, and does not act in them",
			"needs", "CAP_SYS_ADMIN and CAP_SYS_PTRACE: /usr/share/ctwarden/netns.conf")
	}
}

// ready notifies systemd. It is called when every task is ready.
func (s *Server) ready() {
	s.systemd.notify(sd.SdNotifyReady)
	s.logger.Info("watching", "mode", s.settings.current.Load().Limits.Mode.String(), "version", s.version)
}

// close closes everything in reverse order of opening.
func (s *Server) close() error {
	var errs []error
	for _, c := range slices.Backward(s.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}
