package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxProblems is where the reading of a file is given up.
const maxProblems = 100

// The problems of a name.
const (
	unknownKey = "unknown key"
	renamedKey = "the key was renamed"
)

// A document is a configuration file that is being read.
type document struct {
	name     string
	keys     map[string]key
	sections map[string]bool
	values   layer
	problems Problems
}

// readDocument reads the text of a file. It walks the nodes of the YAML tree
// itself: they have their line numbers, and decoding them into a value would
// expand aliases and convert types.
func readDocument(text []byte, name string, ks []key) *document {
	d := &document{name: name, keys: map[string]key{}, sections: map[string]bool{}, values: layer{}}
	for _, k := range ks {
		d.keys[k.path] = k
		for section := k.path; strings.Contains(section, "."); {
			section = section[:strings.LastIndexByte(section, '.')]
			d.sections[section] = true
		}
	}
	if d.problems = checkText(text, Origin{Layer: FromFile, Name: name}); len(d.problems) > 0 {
		return d
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var root, second yaml.Node
	if err := decoder.Decode(&root); errors.Is(err, io.EOF) {
		return d // comments only
	} else if err != nil {
		d.syntax(text, err)
		return d
	}
	if err := decoder.Decode(&second); err == nil {
		d.report(&second, "", "one document", "a second one")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(text, err)
	}
	d.section(root.Content[0], "")
	return d
}

// syntax reports yaml's error about a text that is no YAML. Its message
// begins with a line, unless that is the first; the line is the one before
// the mistake where the mistake is one of grammar.
func (d *document) syntax(text []byte, err error) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if n, _ := fmt.Sscanf(message, "line %d:", &line); n == 1 {
		_, message, _ = strings.Cut(message, ": ")
	}
	lines := slices.Collect(bytes.Lines(text))
	if isYAML(bytes.Join(lines[:min(line, len(lines))], nil)) {
		line++
	}
	origin := Origin{Layer: FromFile, Name: d.name, Line: line}
	d.problems = append(d.problems, Problem{Origin: origin, Found: "not YAML: " + message})
}

// isYAML reports whether every document of text can be parsed.
func isYAML(text []byte) bool {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		if err := decoder.Decode(new(yaml.Node)); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

func (d *document) origin(n *yaml.Node) Origin {
	return Origin{Layer: FromFile, Name: d.name, Line: n.Line, Column: n.Column}
}

func (d *document) report(n *yaml.Node, path, expected, found string) {
	d.problems = append(d.problems, Problem{Origin: d.origin(n), Key: path, Expected: expected, Found: found})
}

// section reads the keys of one section; "" is the whole document. A section
// without anything in it is fine: all of it may be commented out.
func (d *document) section(n *yaml.Node, path string) {
	if !d.plainNode(n, path) || isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.report(n, path, "keys, each with its value", found(n))
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content) && len(d.problems) < maxProblems; i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if !d.plainNode(name, path) {
			continue
		}
		if name.Kind != yaml.ScalarNode {
			d.report(name, path, "the name of a key", found(name))
			continue
		}
		full := join(path, name.Value)
		if line, twice := first[name.Value]; twice {
			d.report(name, full, "one value", fmt.Sprintf("a second one; the first is in line %d", line))
			continue
		}
		first[name.Value] = name.Line
		d.entry(name, value, path)
	}
}

// entry reads one key of the section path and its value.
func (d *document) entry(name, value *yaml.Node, path string) {
	full := join(path, name.Value)
	// A dot in a name would be taken for a section.
	_, known := d.keys[full]
	switch dotted := strings.Contains(name.Value, "."); {
	case known && !dotted:
		d.value(value, full)
	case d.sections[full] && !dotted:
		d.section(value, full)
	case renamed(full) != "":
		d.problems = append(d.problems, Problem{
			Origin: d.origin(name), Key: full, Found: renamedKey, Hint: "write " + nested(renamed(full)),
		})
	default:
		d.problems = append(d.problems, Problem{
			Origin: d.origin(name), Key: full, Found: unknownKey, Hint: d.hint(path, name.Value),
		})
	}
}

// value reads the value of a key.
func (d *document) value(n *yaml.Node, path string) {
	k := d.keys[path]
	if !d.plainNode(n, path) {
		return
	}
	if !k.list {
		if d.scalar(n, k) {
			d.values[path] = setting{[]string{n.Value}, d.origin(n)}
		}
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.report(n, path, "a list", found(n))
		return
	}
	s := setting{nil, d.origin(n)}
	if len(n.Content) > maxItems {
		d.report(n, path, fmt.Sprintf("at most %d items", maxItems), fmt.Sprint(len(n.Content)))
		return
	}
	right := true
	for _, item := range n.Content {
		right = d.plainNode(item, path) && d.scalar(item, k) && right
		s.texts = append(s.texts, item.Value)
	}
	if right {
		d.values[path] = s
	}
}

// scalar reports whether one value is what the key takes.
func (d *document) scalar(n *yaml.Node, k key) bool {
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	if n.Kind != yaml.ScalarNode || isNull(n) || k.plain && quoted || !k.accept(n.Value) {
		d.report(n, k.path, k.expect, found(n))
		return false
	}
	return true
}

// plainNode reports whether a node stands for itself: no anchor, no alias, no
// tag. They are for documents that are written by machines, or against them.
func (d *document) plainNode(n *yaml.Node, path string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		d.report(n, path, "a value", "an alias, *"+printable(n.Value, maxQuoted))
	case n.Anchor != "":
		d.report(n, path, "a value", "an anchor, &"+printable(n.Anchor, maxQuoted))
	case n.Style&yaml.TaggedStyle != 0:
		d.report(n, path, "a value", "a tag, "+printable(n.Tag, maxQuoted))
	default:
		return true
	}
	return false
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// found describes a node.
func found(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "keys"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case n.ShortTag() == "!!str":
		return quote(n.Value)
	}
	return printable(n.Value, maxQuoted)
}

func join(section, name string) string {
	if section == "" {
		return name
	}
	return section + "." + name
}

// split returns the section and the last name of a path.
func split(path string) (section, name string) {
	i := strings.LastIndexByte(path, '.')
	return path[:max(i, 0)], path[i+1:]
}
