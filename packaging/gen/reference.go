package main

import "strings"

// A setting is one key of the configuration with its default.
type setting struct{ path, value, about, takes string }

// parseReference reads what `ctwarden config reference` prints: sections by two spaces of indentation, each key under
// a comment that ends with what it takes.
func parseReference(text string) []setting {
	var settings []setting
	var sections, comment []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		bare := strings.TrimLeft(line, " ")
		depth := (len(line) - len(bare)) / 2
		if words, ok := strings.CutPrefix(bare, "#"); ok {
			comment = append(comment, strings.TrimSpace(words))
			continue
		}
		if element, ok := strings.CutPrefix(bare, "- "); ok && len(settings) > 0 {
			last := &settings[len(settings)-1]
			last.value = strings.TrimSpace(last.value + " " + element)
			continue
		}
		name, value, ok := strings.Cut(bare, ":")
		if !ok {
			comment = nil // an empty line ends the comment at the head of the file
			continue
		}
		sections = append(sections[:min(depth, len(sections))], name)
		if len(comment) > 0 {
			about, takes := cutTakes(strings.Join(comment, " "))
			settings = append(settings, setting{strings.Join(sections, "."), strings.TrimSpace(value), about, takes})
		}
		comment = nil
	}
	return settings
}

func cutTakes(comment string) (about, takes string) {
	if i := strings.LastIndex(comment, " Takes "); i >= 0 {
		return comment[:i], comment[i+1:]
	}
	return comment, ""
}
