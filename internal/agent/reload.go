package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/record"
)

// settings are the configuration of a Server.
type settings struct {
	source config.Source
	// initial is the configuration of the start, current the one in force.
	initial *config.Config
	current atomic.Pointer[config.Config]
	// reloading serialises reloads: SIGHUP and a request may come together.
	reloading sync.Mutex
}

// handleHangups reloads on SIGHUP until ctx is done. Signals that arrive during a
// reload cause one more.
func (s *Server) handleHangups(ctx context.Context, hangups <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangups:
		}
		s.systemd.notify(fmt.Sprintf("%s\n%s", sd.SdNotifyReloading, sd.SdNotifyMonotonicUsec()))
		if err := s.reload(ctx, nil); err != nil {
			s.logger.Error("reload: the old configuration stays", "error", err)
		}
		s.systemd.notify(sd.SdNotifyReady)
	}
}

// reload applies the new configuration whole, or keeps the old one.
func (s *Server) reload(ctx context.Context, by *record.Requester) error {
	s.settings.reloading.Lock()
	defer s.settings.reloading.Unlock()
	old := s.settings.current.Load()
	cfg, err := config.Load(s.settings.source)
	if err != nil {
		return errors.Join(err, s.agent.Record(&record.Config{
			Digest: old.Limits.Digest(), Limits: old.Limits, Error: err.Error(), By: by,
			Text: "reload refused: the old configuration stays",
		}))
	}
	changes, restart := config.Diff(*old, *cfg), restartKeys(s.settings.initial, cfg)
	text := "configuration reloaded"
	if len(restart) > 0 {
		text += "; a restart is needed for " + strings.Join(restart, ", ")
	}
	// The record comes first: plans under the new limits refer to it.
	err = s.agent.Record(&record.Config{
		Digest: cfg.Limits.Digest(), Limits: cfg.Limits, Changes: changes, Restart: restart, By: by, Text: text,
	})
	if err != nil {
		return err
	}
	s.agent.kernel.SetProtect(cfg.Protect) // before the limits: they may permit more
	s.agent.kernel.SetHash(cfg.Limits.Hash)
	if err := s.agent.loop.SetLimits(ctx, cfg.Limits); err != nil {
		return err
	}
	if s.agent.namespaces != nil {
		s.agent.namespaces.SetPatterns(patterns(cfg))
	}
	s.settings.current.Store(cfg)
	s.logger.Info("configuration reloaded", "changes", len(changes))
	if len(restart) > 0 {
		s.logger.Warn("some changes need a restart: systemctl restart ctwarden", "keys", strings.Join(restart, ", "))
	}
	return nil
}

// restartKeys returns the changed keys that the daemon reads only at its start,
// because they name files and sockets to open.
func restartKeys(begun, cfg *config.Config) []string {
	var keys []string
	for _, c := range config.Diff(*begun, *cfg) {
		part, _, _ := strings.Cut(c.Key, ".")
		switch part {
		case "watch", "audit", "state", "control", "metrics":
			keys = append(keys, c.Key)
		case "netns":
			if c.Key == "netns.act" {
				keys = append(keys, c.Key)
			}
		}
	}
	return keys
}
