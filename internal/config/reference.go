package config

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/ctwarden/ctwarden/internal/ui"
)

// Reference writes a configuration file that sets every key to its default,
// each with its meaning and its bounds.
func Reference(w io.Writer) error {
	b := bufio.NewWriter(w)
	b.WriteString(`# Every key of ctwarden, with its default. A file needs only what differs.
#
# An environment variable overrides the file: CTWARDEN_LEVELS_HIGH_ENTER for
# levels.high.enter, lists with commas.
`)
	c := Default()
	var sections []string
	group := ""
	for _, k := range keys() {
		if top, _, _ := strings.Cut(k.path, "."); top != group {
			group = top
			b.WriteString("\n")
		}
		sections = writeSections(b, sections, k.path)
		indent := strings.Repeat("  ", len(sections))
		for _, line := range ui.Wrap(k.doc, 76-len(indent)) {
			fmt.Fprintf(b, "%s# %s\n", indent, line)
		}
		fmt.Fprintf(b, "%s# Takes %s.\n%s\n", indent, k.takes(), entry(k, &c, len(sections)))
	}
	return b.Flush()
}

// A Description is one key of the configuration as a person reads it.
type Description struct {
	Path    string // as in "levels.high.enter"
	Default string // as the file has it
	Takes   string // what may be written, as in "a share between 1% and 100%"
	About   string // what it means
}

// Describe returns every key, in the order of the reference.
func Describe() []Description {
	c := Default()
	var all []Description
	for _, k := range keys() {
		all = append(all, Description{Path: k.path, Default: k.yaml(&c), Takes: k.takes(), About: k.doc})
	}
	return all
}

// takes describes the values that the key takes.
func (k key) takes() string {
	if k.list {
		return fmt.Sprintf("a list of up to %d, each %s", maxItems, k.expect)
	}
	return k.expect
}

// Markdown writes the reference as the page docs/configuration.md.
func Markdown(w io.Writer) error {
	b := bufio.NewWriter(w)
	b.WriteString(`<!-- generated: go test ./internal/config -update -->

# Configuration

ctwarden needs no configuration file. ` + "`" + DefaultPath + "`" + ` holds
only what differs from the defaults:

` + "```yaml" + `
mode: observe
levels:
  high:
    enter: 80%
    leave: 75%
protect:
  cidr: [10.0.0.0/8]
` + "```" + `

- A share has a ` + "`%`" + `; a duration has a unit (` + "`250ms`, `1h30m`, `90d`" + `), and so has a size
  (` + "`B`, `KiB`, `MiB`, `GiB`, `TiB`" + `). A number without a unit is a count. Timeouts have whole seconds.
- An environment variable overrides the file: ` + "`CTWARDEN_LEVELS_HIGH_ENTER`" + ` for
  ` + "`levels.high.enter`" + `, lists with commas. A flag overrides both. A list has at most 256 items.
- Unknown keys, keys set twice, values without a unit, out of bounds or in conflict are errors, each
  with its file, line and column. YAML anchors, aliases, tags and a second document are refused.
- A missing file means the defaults, unless ` + "`--config`" + ` names it.
- ` + "`ctwarden config check`" + ` finds mistakes, ` + "`ctwarden config show`" + ` prints each value and its source,
  ` + "`ctwarden config reference`" + ` prints this page as a commented file.
- ` + "`systemctl reload ctwarden`" + ` applies a changed file whole, or reports why it was refused.
`)
	group := ""
	c := Default()
	for _, k := range keys() {
		if top, _, _ := strings.Cut(k.path, "."); top != group {
			group = top
			fmt.Fprintf(b, "\n## %s\n\n| key | default | takes | meaning |\n|---|---|---|---|\n", group)
		}
		takes := k.span
		if takes == "" {
			takes = k.takes()
		}
		fmt.Fprintf(b, "| `%s` | `%s` | %s | %s |\n", k.path, k.yaml(&c), takes, k.doc)
	}
	b.WriteString("\n## Rules between two keys\n\n")
	for _, r := range rules() {
		relation := "<"
		if r.equal {
			relation = "≤"
		}
		fmt.Fprintf(b, "- `%s` %s `%s`\n", r.low, relation, r.high)
	}
	b.WriteString("\nA value of 0 that switches something off is not compared.\n")
	return b.Flush()
}
