package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/watcher"
)

// reloads answers SIGHUP until ctx is done. Those that come while it is at it
// are answered together.
func (d *running) reloads(ctx context.Context, hups <-chan os.Signal) {
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
func (d *running) reload(ctx context.Context, by *record.Requester) error {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	old := d.cfg.Load()
	cfg, err := config.Load(d.src)
	if err != nil {
		return errors.Join(err, d.post.record(&record.Config{
			Digest: old.Limits.Digest(), Limits: old.Limits, Error: err.Error(), By: by,
			Text: "reload refused: the old configuration stays",
		}))
	}
	changes, restart := config.Diff(*old, *cfg), needRestart(d.begun, cfg)
	text := "configuration loaded anew"
	if len(restart) > 0 {
		text += ", but " + strings.Join(restart, ", ") + " as it was: that takes a restart"
	}
	// The record comes first: plans under the new limits name it.
	err = d.post.record(&record.Config{
		Digest: cfg.Limits.Digest(), Limits: cfg.Limits, Changes: changes, Restart: restart, By: by, Text: text,
	})
	if err != nil {
		return err
	}
	d.post.kernel.SetProtect(cfg.Protect) // before the limits: they may permit more
	d.post.kernel.SetHash(cfg.Limits.Hash)
	if err := d.post.loop.SetLimits(ctx, cfg.Limits); err != nil {
		return err
	}
	if d.post.others != nil {
		d.post.others.SetPatterns(patterns(cfg))
	}
	d.cfg.Store(cfg)
	d.say.Info("configuration loaded anew", "changes", len(changes))
	if len(restart) > 0 {
		d.say.Warn("some of it takes effect after a restart only", "keys", strings.Join(restart, ", "))
	}
	return nil
}

// patterns are those of the namespaces to watch.
func patterns(cfg *config.Config) watcher.Patterns {
	return watcher.Patterns{Include: cfg.NetNS.Include, Exclude: cfg.NetNS.Exclude}
}

// needRestart returns the keys that differ from the start and that the daemon
// only looks at then: they say what is opened.
func needRestart(begun, cfg *config.Config) []string {
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
