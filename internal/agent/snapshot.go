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

// A snapshot is what the daemon remembers beyond a restart: counts of acts,
// verdicts, an open incident. What it changed in the kernel stands in the
// ledger; losing a snapshot loses caution, not a value.
type snapshot struct {
	Version int                      `json:"version"`
	Boot    string                   `json:"boot_id"`
	Tables  map[uint32]loop.Snapshot `json:"tables"`
}

const snapshotVersion = 1

func snapshotPath(dir string) string { return filepath.Join(dir, "state.json") }

// readSnapshot returns what was kept in this boot. Anything else, a file that
// can't be read among it, is forgotten: the error says so.
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

// writeSnapshot replaces the file whole. It is not synced: after a crash of
// the machine the boot is another one.
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
