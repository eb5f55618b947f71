package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ctwarden/ctwarden/internal/config"
)

// writeManual writes a page for every command and one for the configuration file.
func (b build) writeManual(root *cobra.Command) error {
	if err := b.writeCommand(root); err != nil {
		return err
	}
	return b.write("man/man5/ctwarden.yaml.5", b.configPage(config.Describe()))
}

// writeCommand writes the page of a command and of those below it.
func (b build) writeCommand(c *cobra.Command) error {
	if err := b.write("man/man8/"+pageName(c)+".8", b.commandPage(c)); err != nil {
		return err
	}
	for _, sub := range withPage(c.Commands()) {
		if err := b.writeCommand(sub); err != nil {
			return err
		}
	}
	return nil
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// withPage leaves out help, which has no page.
func withPage(commands []*cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(commands), func(c *cobra.Command) bool { return c.Name() == "help" })
}

func (b build) commandPage(c *cobra.Command) []byte {
	// Cobra adds these when it runs a command.
	c.InitDefaultHelpFlag()
	c.InitDefaultVersionFlag()
	var r roff
	r.title(pageName(c), "8", b)
	r.section("NAME")
	r.text(pageName(c) + " - " + c.Short)
	r.section("SYNOPSIS")
	r.bold(c.UseLine())
	var commands []item
	if c.HasSubCommands() {
		r.request("br")
		r.bold(c.CommandPath() + " [command]")
		for _, sub := range c.Commands() {
			commands = append(commands, item{sub.Name(), sub.Short})
		}
	}
	r.section("DESCRIPTION")
	r.prose(cmp.Or(c.Long, c.Short))
	r.items("COMMANDS", commands)
	r.items("OPTIONS", flags(c.LocalFlags()))
	r.items("GLOBAL OPTIONS", flags(c.InheritedFlags()))
	if c.Example != "" {
		r.section("EXAMPLES")
		r.verbatim(strings.TrimPrefix(strings.ReplaceAll("\n"+c.Example, "\n  ", "\n"), "\n"))
	}
	r.items("EXIT STATUS", exitCodes(c))
	r.items("FILES", files(c))
	r.section("SEE ALSO")
	r.text(seeAlso(c))
	return r.bytes()
}

// An item is a command, a flag, an exit code or a file with its meaning.
type item struct{ name, about string }

// flags splits the list that pflag prints: one flag a line, three spaces before its meaning.
func flags(set *pflag.FlagSet) []item {
	var items []item
	for line := range strings.Lines(set.FlagUsages()) {
		name, about, _ := strings.Cut(strings.TrimSpace(line), "   ")
		items = append(items, item{name, strings.TrimSpace(about)})
	}
	return items
}

// exitCodes returns the codes of every command and those of this one.
func exitCodes(c *cobra.Command) []item {
	codes := []item{
		{"0", "Done."}, {"1", "An error; standard error has the message and a hint."},
		{"2", "The command line was not understood."},
	}
	found := item{"3", "A check found something and printed it."}
	failed := item{"78", "The configuration is wrong (EX_CONFIG). systemd does not restart the unit: the next start would fail, too."}
	switch pageName(c) {
	case "ctwarden":
		found.about = "A check found something: ctwarden-doctor(8), ctwarden-audit-verify(8)."
		failed.about = "Of ctwarden-run(8): the configuration is wrong."
		return append(codes, found, failed)
	case "ctwarden-doctor", "ctwarden-audit-verify":
		return append(codes, found)
	case "ctwarden-run":
		return append(codes, failed)
	case "ctwarden-config-check":
		codes[1].about = "The configuration has mistakes or cannot be read."
	case "ctwarden-drill":
		codes[1].about = "The drill failed: a connection died, a value was not restored, or the drill could not start."
	case "ctwarden-revert":
		codes[1].about = "A value could not be restored; the message says why."
	case "ctwarden-status":
		return append(codes, item{"0 to 3", "With --nagios: OK, WARNING, CRITICAL, UNKNOWN."})
	}
	return codes
}

// A file is one for the section FILES. Commands lists those that read or write it; empty means all.
type file struct {
	item
	commands string
}

// files returns the files of a command and its subcommands.
func files(c *cobra.Command) []item {
	path := strings.Fields(c.CommandPath())
	all := []file{
		{item{"/etc/ctwarden/ctwarden.yaml", "The configuration. Every key has a default, and the file may be missing."}, ""},
		{item{"/var/log/ctwarden/audit.jsonl", "The audit log, rotated by ctwarden itself. ctwarden-audit(8) reads it."},
			"run audit incident recommend replay revert"},
		{item{"/var/lib/ctwarden/ledger.json", "The kernel values that ctwarden changed, with the values before. ctwarden-revert(8) restores them."},
			"run status revert drill"},
		{item{"/run/ctwarden/control.sock", "The control socket, for root and the group ctwarden."},
			"run status pause resume reload revert metrics doctor"},
		{item{"/usr/share/ctwarden/netns.conf", "A drop-in for the unit: lets the daemon act in other network namespaces."}, "run"},
		{item{"/usr/share/ctwarden/metrics.conf", "A drop-in for the unit: lets the daemon serve metrics on the network."}, "run"},
		{item{"/usr/share/doc/ctwarden/operations.md", "What to do after an alert, and what each message means."}, "run status"},
	}
	var chosen []item
	for _, f := range all {
		switch {
		case len(path) > 1 && slices.Contains([]string{"version", "completion"}, path[1]):
		case len(path) == 1, f.commands == "", slices.Contains(strings.Fields(f.commands), path[1]):
			chosen = append(chosen, f.item)
		}
	}
	return chosen
}

// seeAlso names the pages above, below and, within a group, beside a command.
func seeAlso(c *cobra.Command) string {
	var names []string
	c.VisitParents(func(parent *cobra.Command) { names = append(names, pageName(parent)+"(8)") })
	slices.Reverse(names)
	var near []*cobra.Command
	if parent := c.Parent(); parent != nil && parent.HasParent() {
		near = parent.Commands()
	}
	for _, other := range withPage(append(slices.Clone(near), c.Commands()...)) {
		if other != c {
			names = append(names, pageName(other)+"(8)")
		}
	}
	if !c.HasParent() {
		names = append(names, "conntrack(8)", "journalctl(1)", "sysctl.d(5)")
	}
	return strings.Join(append(names, "ctwarden.yaml(5)"), ", ")
}

func (b build) configPage(keys []config.Description) []byte {
	var r roff
	r.title("ctwarden.yaml", "5", b)
	r.section("NAME")
	r.text("ctwarden.yaml - configuration of ctwarden(8)")
	r.section("SYNOPSIS")
	r.bold("/etc/ctwarden/ctwarden.yaml")
	r.section("DESCRIPTION")
	r.prose(`The file is YAML. Every key has a default, so it holds only what differs; it may be missing. This page
writes a key with its sections, separated by dots: levels.high.enter is enter in the section high of the section levels.

An environment variable overrides the file: CTWARDEN_LEVELS_HIGH_ENTER sets levels.high.enter. It separates the items
of a list by commas.

A share ends with %, a duration with its unit (250ms, 1h30m, 90d), a size with B, KiB, MiB, GiB or TiB. Unknown keys,
duplicate keys, and values without a unit or out of bounds are errors; ctwarden reports all of them with line and column.
"systemctl reload ctwarden" applies a changed file as a whole. If the file has an error, the daemon keeps the old
configuration and logs the error.`)
	group := ""
	for _, k := range keys {
		top, _, _ := strings.Cut(k.Path, ".")
		if top != group {
			group = top
			r.section("KEYS: " + strings.ToUpper(top))
		}
		r.key(k)
	}
	r.section("EXAMPLES")
	r.verbatim("mode: observe\nlevels:\n  high:\n    enter: 80%\n    leave: 75%\nprotect:\n  cidr: [10.0.0.0/8]")
	r.section("SEE ALSO")
	r.text("ctwarden(8), ctwarden-config(8)")
	return r.bytes()
}
