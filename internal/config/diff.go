package config

import (
	"slices"

	"github.com/ctwarden/ctwarden/internal/record"
)

// Diff returns what changes from one configuration to another, in the order
// of the reference; where a value comes from does not matter.
func Diff(from, to Config) []record.Change {
	var changes []record.Change
	for _, k := range keys() {
		if !slices.Equal(k.get(&from), k.get(&to)) {
			changes = append(changes, record.Change{Key: k.path, From: k.yaml(&from), To: k.yaml(&to)})
		}
	}
	return changes
}
