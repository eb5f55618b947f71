package remediate

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// BootID returns the kernel's name for this boot, which each row of a ledger
// carries. Proc is where proc is mounted; "" is /proc.
func BootID(proc string) (string, error) {
	text, err := os.ReadFile(filepath.Join(cmp.Or(proc, "/proc"), "sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	boot := strings.TrimSpace(string(text))
	if boot == "" {
		return "", errors.New("read boot id: it is empty")
	}
	return boot, nil
}
