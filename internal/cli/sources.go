package cli

import (
	"cmp"
	"maps"
	"slices"

	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/internal/ui"
)

// printSources prints a line for each source.
func printSources(all map[string]status.Source, unread map[string]string, line func(string, string, ...any)) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		text := "read"
		if !s.Alive {
			text = "unreadable: " + cmp.Or(s.Error, "not started")
		}
		if !s.At.IsZero() {
			text += ", last record " + ui.Time(s.At)
		}
		line(name, "%s, %d lines about full tables, %d records lost, %d lines missed", text, s.Lines, s.Lost, s.Missed)
	}
	for _, name := range slices.Sorted(maps.Keys(unread)) {
		line(name, "not read: %s", unread[name])
	}
}
