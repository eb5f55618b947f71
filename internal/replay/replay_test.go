package replay_test

import (
	"errors"
	"testing"

	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/replay"
	"github.com/ctwarden/ctwarden/policy"
)

// TestRunNeedsReadings: an incident whose samples retention has removed. What a recorded one gives is tested with the
// drill's log, in internal/cli.
func TestRunNeedsReadings(t *testing.T) {
	limits := policy.Defaults()
	result, err := replay.Run(&incident.Incident{ID: "INC-1"}, &limits)
	if result != nil || !errors.Is(err, replay.ErrTooShort) {
		t.Errorf("result %v, %v, want %v", result, err, replay.ErrTooShort)
	}
}
