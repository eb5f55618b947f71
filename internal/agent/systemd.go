package agent

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// heartbeatsPerTimeout is how often the loop says that it is alive in the time that the
// watchdog leaves it: systemd is told within twice that, and every step of the
// loop may take half of it.
const heartbeatsPerTimeout = 4

// A systemd notifies systemd, if it is there.
type systemd struct {
	logger *slog.Logger
	// watchdog is the silence after which systemd takes the daemon for hung, 0
	// if it does not ask.
	watchdog time.Duration
	// started is closed at the first step of the loop.
	started chan struct{}
	first   sync.Once
	// pinged is when systemd was last notified that the loop is alive.
	pinged time.Time
}

func newSystemd(logger *slog.Logger) (*systemd, error) {
	watchdog, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("ask for the watchdog: %w", err)
	}
	return &systemd{logger: logger, watchdog: watchdog, started: make(chan struct{})}, nil
}

// interval is how often the loop is to call alive, at least.
func (s *systemd) interval() time.Duration { return s.watchdog / heartbeatsPerTimeout }

// heartbeat is called by the loop at every step.
func (s *systemd) heartbeat() {
	s.first.Do(func() { close(s.started) })
	if s.watchdog > 0 && time.Since(s.pinged) >= s.interval() {
		s.pinged = time.Now()
		s.notify(sd.SdNotifyWatchdog)
	}
}

func (s *systemd) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		s.logger.Warn("tell systemd", "error", err)
	}
}
