package agent

import (
	"fmt"
	"path/filepath"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/watcher"
)

// A SourceError is the error of a kernel log source that the configuration requires.
type SourceError struct {
	// Key is that of the configuration, as in watch.kmsg.
	Key string
	Err error
}

func (e *SourceError) Error() string { return e.Err.Error() }

func (e *SourceError) Unwrap() error { return e.Err }

// openSources opens the sources of the kernel log. A source that is "auto" may be
// absent, and may appear later; one that is "on" must be readable now.
func (s *Server) openSources(cfg *config.Config) (l watcher.KernelLog, err error) {
	if cfg.Watch.KMsg == config.Off {
		s.unread[string(watcher.SourceKmsg)] = "watch.kmsg is off"
	} else {
		l.Kmsg = watcher.NewKmsg()
		l.Kmsg.PositionPath, l.Kmsg.Boot = filepath.Join(cfg.State.Dir, "kmsg.place"), s.boot
		l.Kmsg.OnChange = s.logSourceChange("the kernel log")
		if cfg.Watch.KMsg == config.On {
			if err := checkKmsg(l.Kmsg); err != nil {
				return l, &SourceError{"watch.kmsg", fmt.Errorf("watch.kmsg is on: %w", err)}
			}
		}
	}
	if cfg.Watch.Journald == config.Off {
		s.unread[string(watcher.SourceJournald)] = "watch.journald is off"
		return l, nil
	}
	switch err := watcher.CheckJournal(""); {
	case err == nil:
		l.Journald = watcher.NewJournald(filepath.Join(cfg.State.Dir, "journal.cursor"), s.boot)
		l.Journald.OnChange = s.logSourceChange("the journal")
	case cfg.Watch.Journald == config.On:
		return l, &SourceError{"watch.journald", fmt.Errorf("watch.journald is on: %w", err)}
	default:
		s.unread[string(watcher.SourceJournald)] = err.Error()
		s.logger.Info("the journal is not read", "because", err)
	}
	return l, nil
}

func checkKmsg(k *watcher.Kmsg) error {
	log, err := k.Open()
	if err != nil {
		return err
	}
	return log.Close()
}

// logSourceChange returns a function that logs each change of a source between readable and unreadable.
func (s *Server) logSourceChange(what string) func(watcher.Status) {
	return func(status watcher.Status) {
		if status.Alive {
			s.logger.Info("reading " + what)
			return
		}
		s.logger.Warn(what+" can't be read; detection continues by the counters", "error", status.Err)
	}
}
