package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/policy"
)

// A key is one setting: its name, what may be written there, and the field of
// Config where it ends up. Values travel as texts, one for a scalar, any
// number for a list, so that the file, the environment and the flags are read
// by the same parser.
type key struct {
	path   string // as in "levels.high.enter"
	doc    string
	expect string // completes "expected …"
	span   string // expect in few words, as in "1% to 100%"; "" for expect
	list   bool
	plain  bool // a number that must not stand in quotes

	// accept reports whether one text is syntax and bounds right.
	accept func(text string) bool
	// set stores texts that were accepted; get returns what set would need.
	set func(c *Config, texts []string)
	get func(c *Config) []string
	// number returns the value for comparison with another of its kind; nil
	// for what is not a number.
	number func(c *Config) uint64
}

// variable returns the name of the environment variable that sets the key.
func (k key) variable() string { return variable(k.path) }

func variable(path string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// problems returns what is wrong with texts that were written for the key at
// an origin.
func (k key) problems(texts []string, origin Origin) Problems {
	if k.list && len(texts) > maxItems {
		return Problems{{
			Origin: origin, Key: k.path,
			Expected: fmt.Sprintf("at most %d items", maxItems), Found: strconv.Itoa(len(texts)),
		}}
	}
	var ps Problems
	for _, text := range texts {
		if !k.accept(text) {
			ps = append(ps, Problem{Origin: origin, Key: k.path, Expected: k.expect, Found: k.quoted(text)})
		}
	}
	return ps
}

// quoted returns a value as a message shows it.
func (k key) quoted(text string) string {
	if _, ok := parseCount(text); ok && k.plain {
		return text
	}
	return quote(text)
}

// bounds limit a number. With zero, 0 is permitted too; zero describes it.
type bounds struct {
	min, max string
	zero     string
}

func between(least, most string) bounds { return bounds{min: least, max: most} }

// orZero permits 0 beside the bounds.
func (b bounds) orZero(meaning string) bounds {
	b.zero = meaning
	return b
}

// expect describes the numbers within the bounds.
func (b bounds) expect(k kind) string {
	text := fmt.Sprintf("%s between %s and %s", k.noun(), b.min, b.max)
	if b.zero != "" {
		text = fmt.Sprintf("%s (%s) or %s", k.format(0), b.zero, text)
	}
	return text
}

// span is expect in as few words as a table needs.
func (b bounds) span(k kind) string {
	if b.zero != "" {
		return fmt.Sprintf("%s (%s), %s to %s", k.format(0), b.zero, b.min, b.max)
	}
	return b.min + " to " + b.max
}

type integer interface {
	~uint8 | ~uint16 | ~uint32 | ~uint64 | ~int64
}

// number makes the key of a number in the field of a Config. The
// bounds fit the field.
func number[T integer](path string, k kind, b bounds, field func(*Config) *T, doc string) key {
	least, _ := k.parse(b.min)
	most, _ := k.parse(b.max)
	return key{
		path: path, doc: doc, expect: b.expect(k), span: b.span(k), plain: k == count,
		accept: func(text string) bool {
			n, ok := k.parse(text)
			return ok && (n >= least && n <= most || n == 0 && b.zero != "")
		},
		set: func(c *Config, texts []string) {
			n, _ := k.parse(texts[0])
			*field(c) = T(n)
		},
		get:    func(c *Config) []string { return []string{k.format(uint64(*field(c)))} },
		number: func(c *Config) uint64 { return uint64(*field(c)) },
	}
}

// choice makes the key of a word out of a few.
func choice[T ~string](path string, field func(*Config) *T, doc string, words ...T) key {
	names := make([]string, len(words))
	for i, word := range words {
		names[i] = string(word)
	}
	return key{
		path: path, doc: doc, expect: "one of " + strings.Join(names, ", "),
		accept: func(text string) bool { return slices.Contains(names, text) },
		set:    func(c *Config, texts []string) { *field(c) = T(texts[0]) },
		get:    func(c *Config) []string { return []string{string(*field(c))} },
	}
}

// flag makes the key of something that is on or off.
func flag(path string, field func(*Config) *bool, doc string) key {
	return key{
		path: path, doc: doc, expect: "true or false",
		accept: func(text string) bool { return text == "true" || text == "false" },
		set:    func(c *Config, texts []string) { *field(c) = texts[0] == "true" },
		get:    func(c *Config) []string { return []string{strconv.FormatBool(*field(c))} },
	}
}

// mode makes the key of the mode. Off is no choice: a daemon that permits
// nothing and records nothing is one that is not started.
func mode(path, doc string) key {
	names := []string{policy.Observe.String(), policy.Enforce.String()}
	return key{
		path: path, doc: doc, expect: "one of " + strings.Join(names, ", "),
		accept: func(text string) bool { return slices.Contains(names, text) },
		set: func(c *Config, texts []string) {
			c.Limits.Mode = policy.Enforce
			if texts[0] == policy.Observe.String() {
				c.Limits.Mode = policy.Observe
			}
		},
		get: func(c *Config) []string { return []string{c.Limits.Mode.String()} },
	}
}

// maxItems bounds a list: each protected item is compared with each entry
// that is to be deleted.
const maxItems = 256

// list makes the key of a list.
func list[T any](path, expect string, parse func(string) (T, bool), format func(T) string,
	field func(*Config) *[]T, doc string,
) key {
	return key{
		path: path, doc: doc, expect: expect, span: "a list: " + expect, list: true,
		accept: func(text string) bool { _, ok := parse(text); return ok },
		set: func(c *Config, texts []string) {
			var items []T
			for _, text := range texts {
				item, _ := parse(text)
				items = append(items, item)
			}
			*field(c) = items
		},
		get: func(c *Config) []string {
			texts := make([]string, 0, len(*field(c)))
			for _, item := range *field(c) {
				texts = append(texts, format(item))
			}
			return texts
		},
	}
}
