package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ctwarden/ctwarden/internal/loop"
)

// keepsake is what the daemon remembers beyond a restart: counts of acts,
// verdicts, an open incident. What it changed in the kernel stands in the
// ledger; losing a keepsake loses caution, not a value.
type keepsake struct {
	Version int                  `json:"version"`
	Boot    string               `json:"boot_id"`
	Tables  map[uint32]loop.Kept `json:"tables"`
}

const keepsakeVersion = 1

func keepsakePath(dir string) string { return filepath.Join(dir, "state.json") }

// readKeepsake returns what was kept in this boot. Anything else, a file that
// can't be read among it, is forgotten: the error says so.
func readKeepsake(dir, boot string) (map[uint32]loop.Kept, error) {
	text, err := os.ReadFile(keepsakePath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	var k keepsake
	if err := json.Unmarshal(text, &k); err != nil {
		return nil, fmt.Errorf("read state: %s: %w", keepsakePath(dir), err)
	}
	if k.Version != keepsakeVersion || k.Boot != boot {
		return nil, nil
	}
	return k.Tables, nil
}

// writeKeepsake replaces the file whole. It is not synced: after a crash of
// the machine the boot is another one.
func writeKeepsake(dir, boot string, tables map[uint32]loop.Kept) error {
	text, err := json.Marshal(keepsake{keepsakeVersion, boot, tables})
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	next := keepsakePath(dir) + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := os.Rename(next, keepsakePath(dir)); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}
