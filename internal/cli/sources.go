package cli

import (
	"cmp"
	"maps"
	"slices"

	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/internal/ui"
)

// printSources prints a line for each source.
func printSources(all map[string]status.Source, unheard map[string]string, line func(string, string, ...any)) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		text := "listening"
		if !s.Alive {
			text = "silent: " + cmp.Or(s.Error, "not begun")
		}
		if !s.At.IsZero() {
			text += ", last record " + ui.Time(s.At)
		}
		line(name, "%s, %d lines about tables heard, %d records lost, %d lines missed", text, s.Lines, s.Lost, s.Missed)
	}
	for _, name := range slices.Sorted(maps.Keys(unheard)) {
		line(name, "not listened to: %s", unheard[name])
	}
}
