package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ctwarden/ctwarden/internal/loop"
)

// A snapshot is the state that survives a restart: counts of actions, verdicts, an
// open incident. The original kernel values are in the ledger, so losing a snapshot
// loses no value.
type snapshot struct {
	Version int                      `json:"version"`
	Boot    string                   `json:"boot_id"`
	Tables  map[uint32]loop.Snapshot `json:"tables"`
}

const snapshotVersion = 1

func snapshotPath(dir string) string { return filepath.Join(dir, "state.json") }

// readSnapshot returns the snapshots of this boot. Those of another boot or version
// are ignored without an error.
func readSnapshot(dir, boot string) (map[uint32]loop.Snapshot, error) {
	text, err := os.ReadFile(snapshotPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	var s snapshot
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("read state: %s: %w", snapshotPath(dir), err)
	}
	if s.Version != snapshotVersion || s.Boot != boot {
		return nil, nil
	}
	return s.Tables, nil
}

// writeSnapshot replaces the file atomically. It does not sync: after a crash of the
// machine the boot id is another one.
func writeSnapshot(dir, boot string, tables map[uint32]loop.Snapshot) error {
	text, err := json.Marshal(snapshot{snapshotVersion, boot, tables})
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	next := snapshotPath(dir) + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := os.Rename(next, snapshotPath(dir)); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}
