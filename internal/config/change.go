package config

import (
	"slices"
)

// A Change is a key whose value differs between two configurations. The
// values are written as in the file.
type Change struct {
	Key  string `json:"key"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Diff returns what changes from one configuration to another, in the order
// of the reference; where a value comes from does not matter.
func Diff(from, to Config) []Change {
	var changes []Change
	for _, k := range keys() {
		if !slices.Equal(k.get(&from), k.get(&to)) {
			changes = append(changes, Change{Key: k.path, From: k.yaml(&from), To: k.yaml(&to)})
		}
	}
	return changes
}
