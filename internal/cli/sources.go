package cli

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/watcher"
)

// openSources makes ready to listen to the kernel. What is only asked for
// where there is one (auto) may be absent, and come and go; what is asked for
// (on) must be there now.
func (d *running) openSources(cfg *config.Config) error {
	p := &d.post
	p.unheard = map[string]string{}
	if cfg.Watch.KMsg == config.Off {
		p.unheard[string(watcher.SourceKmsg)] = "watch.kmsg is off"
	}
	if cfg.Watch.KMsg != config.Off {
		p.kernelLog.Kmsg = watcher.NewKmsg()
		p.kernelLog.Kmsg.PlacePath, p.kernelLog.Kmsg.Boot = filepath.Join(cfg.State.Dir, "kmsg.place"), d.boot
		p.kernelLog.Kmsg.OnChange = d.sourceChanged("the kernel log")
		p.kernelLog.Kmsg.OnMissed = func(m watcher.Missed) { p.missed(watcher.SourceKmsg, m) }
		if cfg.Watch.KMsg == config.On {
			if err := tryKmsg(p.kernelLog.Kmsg); err != nil {
				return hint(fmt.Errorf("watch.kmsg is on: %w", err),
					"ctwarden doctor   # says what is missing", "watch.kmsg: auto   # goes on without it")
			}
		}
	}
	if cfg.Watch.Journald == config.Off {
		p.unheard[string(watcher.SourceJournald)] = "watch.journald is off"
		return nil
	}
	switch err := watcher.FindJournal(""); {
	case err == nil:
		p.kernelLog.Journald = watcher.NewJournald(filepath.Join(cfg.State.Dir, "journal.cursor"), d.boot)
		p.kernelLog.Journald.OnChange = d.sourceChanged("the journal")
		p.kernelLog.Journald.OnMissed = func(m watcher.Missed) { p.missed(watcher.SourceJournald, m) }
	case cfg.Watch.Journald == config.On:
		return hint(fmt.Errorf("watch.journald is on: %w", err), "watch.journald: auto   # goes on without it")
	default:
		p.unheard[string(watcher.SourceJournald)] = err.Error()
		d.say.Info("not listening to the journal", "because", err)
	}
	return nil
}

func tryKmsg(k *watcher.Kmsg) error {
	log, err := k.Open()
	if err != nil {
		return err
	}
	return log.Close()
}

// sourceChanged returns what tells once that a source begins or stops to speak.
func (d *running) sourceChanged(what string) func(watcher.Status) {
	return func(s watcher.Status) {
		if s.Alive {
			d.say.Info("listening to " + what)
			return
		}
		d.say.Warn(what+" is silent; the counters still tell", "error", s.Err)
	}
}

// sources says how each source fares.
func (p *post) sources() map[string]sourceReport {
	all := map[string]sourceReport{}
	for source, status := range p.kernelLog.Sources() {
		all[string(source)] = reportSource(status)
	}
	return all
}

// printSources prints a line for each source.
func printSources(all map[string]sourceReport, unheard map[string]string, line func(string, string, ...any)) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		text := "listening"
		if !s.Alive {
			text = "silent: " + cmp.Or(s.Error, "not begun")
		}
		if !s.At.IsZero() {
			text += ", last record " + ui.Time(s.At)
		}
		line(name, "%s, %d lines about tables heard, %d records lost, %d lines missed", text, s.Heard, s.Lost, s.Missed)
	}
	for _, name := range slices.Sorted(maps.Keys(unheard)) {
		line(name, "not listened to: %s", unheard[name])
	}
}
