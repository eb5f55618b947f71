package agent

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// heartbeatsPerTimeout is how many heartbeats fit into the timeout of the watchdog:
// systemd is notified within two intervals, and a step of the loop may take two.
const heartbeatsPerTimeout = 4

// A systemd notifies systemd, if systemd started the process.
type systemd struct {
	logger *slog.Logger
	// watchdog is the timeout of systemd's watchdog; 0 if it is off.
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
		return nil, fmt.Errorf("read the watchdog's timeout: %w", err)
	}
	return &systemd{logger: logger, watchdog: watchdog, started: make(chan struct{})}, nil
}

// interval is the longest time between two calls of heartbeat.
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
		s.logger.Warn("notify systemd", "error", err)
	}
}
