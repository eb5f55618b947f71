package config

import (
	"cmp"
	"strconv"
	"strings"
	"unicode"
)

// A Layer is where values come from. The later ones prevail.
type Layer uint8

// The places.
const (
	FromDefault Layer = iota
	FromFile
	FromEnvironment
	FromFlag
)

// String returns the name of the place.
func (p Layer) String() string {
	return [...]string{"default", "file", "environment", "flag"}[p]
}

// MarshalText implements encoding.TextMarshaler.
func (p Layer) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// An Origin is where one value was written. The zero Origin is a default.
type Origin struct {
	Layer Layer `json:"place"`
	// Name is the path of the file, the name of the environment variable, or
	// the key that the flag sets.
	Name string `json:"name,omitempty"`
	// Line and Column count from 1; 0 means the whole file.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
}

// String returns the origin as in "/etc/ctwarden/ctwarden.yaml:5:13",
// "environment CTWARDEN_MODE", "flag mode" or "default".
func (o Origin) String() string {
	name := printable(o.Name, 4096) // a path is of use only as a whole
	switch o.Layer {
	case FromFile:
		if o.Line > 0 {
			name += ":" + strconv.Itoa(o.Line)
			if o.Column > 0 {
				name += ":" + strconv.Itoa(o.Column)
			}
		}
		return name
	case FromEnvironment, FromFlag:
		return o.Layer.String() + " " + name
	}
	return o.Layer.String()
}

// compare orders origins by layer, and within a layer line by line.
func (o Origin) compare(other Origin) int {
	return cmp.Or(
		cmp.Compare(o.Layer, other.Layer),
		cmp.Compare(o.Line, other.Line),
		cmp.Compare(o.Column, other.Column),
		cmp.Compare(o.Name, other.Name),
	)
}

// maxQuoted is how much of a hostile or mistaken text a message repeats.
const maxQuoted = 80

// quote returns text in double quotes, with nothing in it that a terminal
// could obey, and cut where it is too long to read.
func quote(text string) string {
	if len(text) > maxQuoted {
		return strconv.Quote(text[:maxQuoted]) + "…"
	}
	return strconv.Quote(text)
}

// printable returns text as it is, or quoted if it would not print cleanly or
// is too long.
func printable(text string, most int) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
	if len(text) > most || strings.ContainsFunc(text, odd) {
		return quote(text)
	}
	return text
}
