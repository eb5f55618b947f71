package config

import (
	"slices"
	"strings"
)

// A Problem is one mistake in the configuration.
type Problem struct {
	Origin Origin `json:"origin"`
	// Key is the key concerned, as in "levels.high.enter"; "" if the file as
	// a whole is.
	Key string `json:"key,omitempty"`
	// Expected is what would be right, and Found what is there instead.
	// Without Expected, Found alone describes the problem.
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found"`
	// Hint is what was probably meant; often "".
	Hint string `json:"hint,omitempty"`
}

// Error names the origin, the key, what was expected and what was found.
func (p Problem) Error() string {
	var b strings.Builder
	if p.Origin != (Origin{}) {
		b.WriteString(p.Origin.String() + ": ")
	}
	if p.Key != "" && !(p.Origin.Layer == FromFlag && p.Origin.Name == p.Key) {
		b.WriteString(printable(p.Key, maxQuoted) + ": ")
	}
	if p.Expected != "" {
		b.WriteString("expected " + p.Expected + ", found ")
	}
	b.WriteString(p.Found)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// Problems are all mistakes found at once, in the order in which they stand:
// first the file by line, then the environment, then the flags.
type Problems []Problem

// Error returns one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the problems one by one, for errors.As.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

// sorted returns the problems sorted by where they stand; nil if there are
// none, so that the error is nil as well.
func (ps Problems) sorted() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int { return a.Origin.compare(b.Origin) })
	return ps
}
