package main

import (
	"regexp"
	"strings"
)

// A help is what a command says about itself.
type help struct {
	about    string
	usage    []string
	examples string
	commands []item
	flags    []item
	global   []item
}

// An item is a command or a flag with its meaning.
type item struct{ name, about string }

// The shapes of cobra's help: a heading stands alone at the margin, a flag is parted from its meaning by three spaces.
var (
	headingShape = regexp.MustCompile(`^(Usage|Aliases|Examples|Available Commands|Flags|Global Flags):$`)
	flagShape    = regexp.MustCompile(`^ +((?:-\S, )?--\S+(?: \S+)?) {3,}(.*)$`)
	commandShape = regexp.MustCompile(`^ +(\S+) +(.*)$`)
	footerShape  = regexp.MustCompile(`^Use ".*" for more information about a command\.$`)
)

// parseHelp reads what `ctwarden COMMAND --help` prints.
func parseHelp(text string) help {
	var h help
	var about, examples []string
	heading := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		if m := headingShape.FindStringSubmatch(line); m != nil {
			heading = m[1]
			continue
		}
		if footerShape.MatchString(line) {
			continue
		}
		switch heading {
		case "":
			about = append(about, line)
		case "Usage":
			if line != "" {
				h.usage = append(h.usage, strings.TrimSpace(line))
			}
		case "Examples":
			examples = append(examples, strings.TrimPrefix(line, "  "))
		case "Available Commands":
			h.commands = appendItem(h.commands, commandShape, line)
		case "Flags":
			h.flags = appendItem(h.flags, flagShape, line)
		case "Global Flags":
			h.global = appendItem(h.global, flagShape, line)
		}
	}
	h.about = strings.TrimSpace(strings.Join(about, "\n"))
	h.examples = strings.Trim(strings.Join(examples, "\n"), "\n")
	return h
}

// appendItem adds a line of a list; a line of another shape goes on with the meaning before it.
func appendItem(items []item, shape *regexp.Regexp, line string) []item {
	if m := shape.FindStringSubmatch(line); m != nil {
		return append(items, item{m[1], m[2]})
	}
	if rest := strings.TrimSpace(line); rest != "" && len(items) > 0 {
		items[len(items)-1].about += " " + rest
	}
	return items
}
