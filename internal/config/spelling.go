package config

import (
	"maps"
	"slices"
	"strings"
)

// hint suggests where a key that is unknown in a section may belong: it is
// misspelt, or it has another section, or sections are written with dots.
func (d *document) hint(section, name string) string {
	full := join(section, name)
	if _, ok := d.keys[full]; ok || d.sections[full] {
		return "write " + nested(full)
	}
	var siblings, namesakes []string
	for _, path := range slices.Sorted(maps.Keys(d.keys)) {
		if _, last := split(path); last == name {
			namesakes = append(namesakes, path)
		}
	}
	for _, path := range slices.Concat(slices.Sorted(maps.Keys(d.keys)), slices.Sorted(maps.Keys(d.sections))) {
		if parent, last := split(path); parent == section {
			siblings = append(siblings, last)
		} else if parent == "" && last == name {
			namesakes = append(namesakes, path)
		}
	}
	if best := nearest(name, siblings); best != "" {
		return "did you mean " + join(section, best) + "?"
	}
	if len(namesakes) > 0 {
		return "did you mean " + strings.Join(namesakes, " or ") + "?"
	}
	return ""
}

// nested returns a path as the file has it: levels: {high: {enter: …}}.
func nested(path string) string {
	return strings.ReplaceAll(path, ".", ": {") + ": …" + strings.Repeat("}", strings.Count(path, "."))
}

// renames returns the keys and sections that were renamed, each with its new
// name. An old name is an error: the table makes its message only.
func renames() [][2]string {
	return [][2]string{
		{"levels.elevated.soon", "levels.elevated.forecast"},
		{"levels.elevated.soon_fill", "levels.elevated.forecast_fill"},
		{"levels.high.soon", "levels.high.forecast"},
		{"verify.strikes", "verify.max_failures"},
		{"lease", "restore_after"},
		{"lease.calm", "restore_after.calm"},
		{"lease.step", "restore_after.step"},
		{"yield", "backoff"},
		{"yield.pause", "backoff.pause"},
		{"yield.max_pause", "backoff.max_pause"},
		{"spread", "jitter"},
		{"spread.share", "jitter.share"},
		{"spread.start", "jitter.start"},
	}
}

// renamed returns the new name of a key or section, or "" if it has none.
func renamed(path string) string {
	for _, r := range renames() {
		if r[0] == path {
			return r[1]
		}
	}
	return ""
}

// renamedVariable returns the new name of an environment variable, or "" if
// its key was not renamed.
func renamedVariable(name string) string {
	for _, r := range renames() {
		if variable(r[0]) == name {
			return variable(r[1])
		}
	}
	return ""
}

// didYouMean returns a hint at the known name that is nearest to a mistaken
// one, or "" if none is near.
func didYouMean(name string, known []string) string {
	if best := nearest(name, known); best != "" {
		return "did you mean " + best + "?"
	}
	return ""
}

// nearest returns the known name with the fewest letters to change, if that
// is at most a third of them.
func nearest(name string, known []string) string {
	best, least := "", max(1, min(len(name)/3, 4))+1
	for _, k := range known {
		if len(name)-len(k) >= least || len(k)-len(name) >= least {
			continue
		}
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance returns how many letters must be put in, left out, replaced, or
// swapped with their neighbour to make b of a.
func distance(a, b string) int {
	rows := [3][]int{}
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
	}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row := rows[(i-1)%3], rows[i%3], rows[(i+1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return rows[(len(a)+1)%3][len(b)]
}
