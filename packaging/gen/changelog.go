package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"
)

// A release is one section of CHANGELOG.md. Its version is empty for unreleased changes.
type release struct {
	version string
	date    time.Time
	body    string
	notes   []string
}

// releaseShape is the heading of a section: ## [1.2.3] - 2026-11-20, or ## Unreleased.
var releaseShape = regexp.MustCompile(`^## \[?v?([^\]\s]+)\]?(?: +[-–] +(\d{4}-\d{2}-\d{2}))?$`)

// parseChangelog reads the sections, newest first.
func parseChangelog(text string) ([]release, error) {
	var releases []release
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		if strings.HasPrefix(line, "## ") {
			m := releaseShape.FindStringSubmatch(line)
			if m == nil {
				return nil, fmt.Errorf("heading %q is not like ## [1.2.3] - 2026-11-20", line)
			}
			r := release{version: m[1]}
			if strings.EqualFold(m[1], "unreleased") {
				r.version = ""
			} else if m[2] == "" {
				return nil, fmt.Errorf("heading %q has no date", line)
			} else if date, err := time.Parse(time.DateOnly, m[2]); err != nil {
				return nil, err
			} else {
				r.date = date
			}
			releases = append(releases, r)
			continue
		}
		if len(releases) == 0 {
			continue
		}
		r := &releases[len(releases)-1]
		r.body += line + "\n"
		switch bare := strings.TrimSpace(line); {
		case strings.HasPrefix(bare, "- "), strings.HasPrefix(bare, "* "):
			r.notes = append(r.notes, bare[2:])
		case bare != "" && !strings.HasPrefix(bare, "#") && len(r.notes) > 0 && strings.HasPrefix(line, " "):
			r.notes[len(r.notes)-1] += " " + bare
		}
	}
	return releases, nil
}

func (b build) releases() ([]release, error) {
	text, err := os.ReadFile(b.changelog)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return parseChangelog(string(text))
}

// writeChangelog writes the input of nfpm for the changelogs of both packages. The newest entry is always that of this
// package: a build between two releases gets its own.
func (b build) writeChangelog() error {
	releases, err := b.releases()
	if err != nil {
		return err
	}
	var current release
	var older []release
	for _, r := range releases {
		switch r.version {
		case b.version, "":
			current.notes = append(current.notes, r.notes...)
		default:
			older = append(older, r)
		}
	}
	if len(current.notes) == 0 {
		current.notes = []string{"built from commits after the last release"}
	}
	current.version, current.date = b.version, b.date
	entries := make([]entry, 0, len(older)+1)
	for _, r := range append([]release{current}, older...) {
		entries = append(entries, newEntry(r))
	}
	// JSON is YAML.
	text, err := json.MarshalIndent(entries, "", "  ")
	if err != nil {
		return err
	}
	return b.write("changelog.yaml", text)
}

// maintainer is the author of each changelog entry.
const maintainer = "The ctwarden authors <ctwarden@users.noreply.github.com>"

// An entry is one of github.com/goreleaser/chglog.
type entry struct {
	Semver   string    `json:"semver"`
	Date     time.Time `json:"date"`
	Packager string    `json:"packager"`
	Deb      debEntry  `json:"deb"`
	Changes  []note    `json:"changes"`
}

type debEntry struct {
	Urgency       string   `json:"urgency"`
	Distributions []string `json:"distributions"`
}

type note struct {
	Note string `json:"note"`
}

func newEntry(r release) entry {
	e := entry{Semver: r.version + "-1", Date: r.date, Packager: maintainer, Deb: debEntry{"medium", []string{"stable"}}}
	for _, n := range r.notes {
		e.Changes = append(e.Changes, note{wrap(n)})
	}
	return e
}

// wrap breaks a note into lines for a changelog of Debian: nfpm indents each but the first by nine columns, and lintian
// accepts 80.
func wrap(text string) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > 80-9 {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return strings.Join(append(lines, line), "\n    ")
}

// printNotes prints the notes of a release, and fails if there are none.
func (b build) printNotes(w io.Writer, version string) error {
	releases, err := b.releases()
	if err != nil {
		return err
	}
	for _, r := range releases {
		if r.version == version && strings.TrimSpace(r.body) != "" {
			_, err := fmt.Fprintln(w, strings.TrimSpace(r.body))
			return err
		}
	}
	return fmt.Errorf("%s has no section for %s", b.changelog, version)
}
