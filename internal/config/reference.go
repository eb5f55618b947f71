package config

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/ctwarden/ctwarden/internal/ui"
)

// Reference writes a configuration file that sets every key to its default,
// each with what it means and what it takes.
func Reference(w io.Writer) error {
	b := bufio.NewWriter(w)
	b.WriteString(`# Every key of ctwarden, with its default. A key that is left out has its
# default too, so a file needs only what differs.
#
# Each key can also be set by an environment variable, which prevails over the
# file: levels.high.enter is CTWARDEN_LEVELS_HIGH_ENTER, lists with commas.
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

// takes says what may be written.
func (k key) takes() string {
	if k.list {
		return fmt.Sprintf("a list of up to %d, each %s", mostItems, k.expect)
	}
	return k.expect
}

// Markdown writes the reference as the page docs/configuration.md.
func Markdown(w io.Writer) error {
	b := bufio.NewWriter(w)
	b.WriteString(`<!-- generated: go test ./internal/config -update -->

# Configuration

ctwarden runs without a configuration file. ` + "`" + DefaultPath + "`" + ` needs
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

- A share is written with ` + "`%`" + `, a duration with its unit (` + "`250ms`, `1h30m`, `90d`" + `), a size in
  ` + "`B`, `KiB`, `MiB`, `GiB` or `TiB`" + `. A bare number is a number of things: entries, acts.
- Each key can be set by an environment variable, which prevails over the file:
  ` + "`levels.high.enter` is `CTWARDEN_LEVELS_HIGH_ENTER`" + `. Lists are written with commas. Flags
  prevail over both.
- Nothing is guessed. Unknown keys and variables, keys set twice, values without a unit or
  out of bounds, and values at odds with each other are errors, all told at once with file,
  line and column. Anchors, aliases, tags and a second document are refused. A missing
  file gives the defaults, unless it was asked for with ` + "`--config`" + `; an empty one is an error.
- ` + "`ctwarden config check`" + ` looks for mistakes, ` + "`ctwarden config show`" + ` prints every value and where it
  comes from, and ` + "`ctwarden config reference`" + ` prints all of this page as a commented file.
- ` + "`systemctl reload ctwarden`" + ` takes a changed file as a whole, or keeps what is and says why.
`)
	group := ""
	for _, k := range Describe() {
		if top, _, _ := strings.Cut(k.Path, "."); top != group {
			group = top
			fmt.Fprintf(b, "\n## %s\n\n| key | default | takes | meaning |\n|---|---|---|---|\n", group)
		}
		fmt.Fprintf(b, "| `%s` | `%s` | %s | %s |\n", k.Path, k.Default, k.Takes, k.About)
	}
	b.WriteString("\n## What must hold between two keys\n\n")
	for _, r := range rules() {
		relation := "is less than"
		if r.equal {
			relation = "is at most"
		}
		fmt.Fprintf(b, "- `%s` %s `%s`\n", r.low, relation, r.high)
	}
	b.WriteString("\nA value that 0 switches off is compared with nothing.\n")
	return b.Flush()
}
