package main

import (
	"fmt"
	"strings"
)

// purpose is the NAME of the root's page; a command's is in the list of the one above it.
const purpose = "keep the connection tracking table from filling"

// writeManual writes a page for every command and one for the configuration file.
func (b build) writeManual() error {
	if err := b.writeCommand([]string{"ctwarden"}, purpose); err != nil {
		return err
	}
	reference, err := b.ask("config", "reference")
	if err != nil {
		return err
	}
	return b.writeGzip("man/man5/ctwarden.yaml.5", b.configPage(parseReference(string(reference))))
}

// writeCommand writes the page of a command and of those below it.
func (b build) writeCommand(path []string, about string) error {
	text, err := b.ask(append(append([]string{}, path[1:]...), "--help")...)
	if err != nil {
		return err
	}
	h := parseHelp(string(text))
	if len(h.usage) == 0 {
		return fmt.Errorf("help of %q has no usage: its shape changed", strings.Join(path, " "))
	}
	name := strings.Join(path, "-")
	if err := b.writeGzip("man/man8/"+name+".8", b.commandPage(path, about, h)); err != nil {
		return err
	}
	for _, c := range h.commands {
		if c.name == "help" {
			continue
		}
		below := append(append([]string{}, path...), c.name)
		if err := b.writeCommand(below, c.about); err != nil {
			return err
		}
	}
	return nil
}

func (b build) commandPage(path []string, about string, h help) []byte {
	var r roff
	name := strings.Join(path, "-")
	r.title(name, "8", b)
	r.section("NAME")
	r.text(name + " - " + about)
	r.section("SYNOPSIS")
	for i, line := range h.usage {
		if i > 0 {
			r.request("br")
		}
		r.bold(line)
	}
	r.section("DESCRIPTION")
	r.prose(h.about)
	r.items("COMMANDS", h.commands)
	r.items("OPTIONS", h.flags)
	r.items("GLOBAL OPTIONS", h.global)
	if h.examples != "" {
		r.section("EXAMPLES")
		r.verbatim(h.examples)
	}
	r.items("EXIT STATUS", exitCodes(path))
	if len(path) == 1 {
		r.items("FILES", files())
	}
	r.section("SEE ALSO")
	r.text(seeAlso(path, h))
	return r.bytes()
}

// exitCodes are those of every command, and what one has beyond them.
func exitCodes(path []string) []item {
	codes := []item{
		{"0", "Done."}, {"1", "An error, told on the standard error with a hint."},
		{"2", "The command line was not understood."}, {"3", "A check found something."},
	}
	switch strings.Join(path, "-") {
	case "ctwarden-run":
		return append(codes, item{"78", "The configuration is wrong (EX_CONFIG). The unit is not started again: another start would end the same."})
	case "ctwarden-status":
		return append(codes, item{"0 to 3", "With --nagios: OK, WARNING, CRITICAL, UNKNOWN."})
	}
	return codes
}

func files() []item {
	return []item{
		{"/etc/ctwarden/ctwarden.yaml", "The configuration. Every key has a default, and the file may be missing."},
		{"/var/log/ctwarden/audit.jsonl", "The audit log, rotated by ctwarden itself. Look at it with ctwarden-audit(8)."},
		{"/var/lib/ctwarden/ledger.json", "What was changed in the kernel, with the values before. ctwarden-revert(8) works by it."},
		{"/run/ctwarden/control.sock", "The control socket, for root and the group ctwarden."},
		{"/usr/share/ctwarden/netns.conf", "A drop-in for the unit that lets the daemon enter the network namespaces of others."},
		{"/usr/share/ctwarden/metrics.conf", "A drop-in for the unit that lets the daemon answer on the network."},
	}
}

func seeAlso(path []string, h help) string {
	var names []string
	if len(path) > 1 {
		names = append(names, strings.Join(path[:len(path)-1], "-")+"(8)")
	}
	for _, c := range h.commands {
		if c.name != "help" {
			names = append(names, strings.Join(append(append([]string{}, path...), c.name), "-")+"(8)")
		}
	}
	return strings.Join(append(names, "ctwarden.yaml(5)"), ", ")
}

func (b build) configPage(keys []setting) []byte {
	var r roff
	r.title("ctwarden.yaml", "5", b)
	r.section("NAME")
	r.text("ctwarden.yaml - configuration of ctwarden(8)")
	r.section("SYNOPSIS")
	r.bold("/etc/ctwarden/ctwarden.yaml")
	r.section("DESCRIPTION")
	r.prose(`The file is YAML. Every key has a default, so it holds only what differs; it may be missing. Here a key is
written with its sections, parted by dots: levels.high.enter is enter in the section high of the section levels.

Each key can also be set by an environment variable, which prevails over the file: levels.high.enter is
CTWARDEN_LEVELS_HIGH_ENTER. Lists are written with commas there.

A share is written with %, a duration with its unit (250ms, 1h30m, 90d), a size in B, KiB, MiB, GiB or TiB. Nothing is
guessed: unknown keys, keys set twice, values without a unit or out of bounds are errors, told all at once with line and
column. The daemon takes a changed file as a whole on "systemctl reload ctwarden", or keeps what is and says why.`)
	group := ""
	for _, k := range keys {
		top, _, _ := strings.Cut(k.path, ".")
		if top != group {
			group = top
			r.section("KEYS: " + strings.ToUpper(top))
		}
		r.setting(k)
	}
	r.section("EXAMPLES")
	r.verbatim("mode: observe\nlevels:\n  high:\n    enter: 80%\n    leave: 75%\nprotect:\n  cidr: [10.0.0.0/8]")
	r.section("SEE ALSO")
	r.text("ctwarden(8), ctwarden-config(8)")
	return r.bytes()
}
