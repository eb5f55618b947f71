package config

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Show writes the configuration as YAML that Load would take, with the origin
// of every value beside it.
func (c *Config) Show(w io.Writer) error {
	b := bufio.NewWriter(w)
	var sections []string
	for _, k := range keys() {
		sections = writeSections(b, sections, k.path)
		fmt.Fprintf(b, "%-39s # %s\n", entry(k, c, len(sections)), c.origins[k.path])
	}
	return b.Flush()
}

// entry returns the line that sets a key to its value in c, at a depth.
func entry(k key, c *Config, depth int) string {
	_, name := split(k.path)
	return strings.Repeat("  ", depth) + name + ": " + k.yaml(c)
}

// writeSections writes the lines that lead from the sections of the key
// before to those of path, and returns the latter.
func writeSections(w io.Writer, before []string, path string) []string {
	parts := strings.Split(path, ".")
	sections := parts[:len(parts)-1]
	same := 0
	for same < min(len(before), len(sections)) && before[same] == sections[same] {
		same++
	}
	for depth := same; depth < len(sections); depth++ {
		fmt.Fprintf(w, "%s%s:\n", strings.Repeat("  ", depth), sections[depth])
	}
	return sections
}

// yaml returns the value in c as YAML.
func (k key) yaml(c *Config) string {
	plain := regexp.MustCompile(`^[0-9A-Za-z/][0-9A-Za-z/._%-]*$`)
	texts := k.get(c)
	for i, text := range texts {
		if !plain.MatchString(text) {
			texts[i] = strconv.Quote(text)
		}
	}
	if k.list {
		return "[" + strings.Join(texts, ", ") + "]"
	}
	return texts[0]
}
