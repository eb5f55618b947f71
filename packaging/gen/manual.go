package main

import (
	"fmt"
	"slices"
	"strings"
)

// purpose is the NAME of the root's page; a command's is in the list of the one above it.
const purpose = "keep the connection tracking table from filling"

// writeManual writes a page for every command and one for the configuration file.
func (b build) writeManual() error {
	if err := b.writeCommand([]string{"ctwarden"}, purpose, nil); err != nil {
		return err
	}
	reference, err := b.ask("config", "reference")
	if err != nil {
		return err
	}
	return b.writeGzip("man/man5/ctwarden.yaml.5", b.configPage(parseReference(string(reference))))
}

// writeCommand writes the page of a command, which is one of those beside it, and of those below it.
func (b build) writeCommand(path []string, about string, beside []item) error {
	text, err := b.ask(append(append([]string{}, path[1:]...), "--help")...)
	if err != nil {
		return err
	}
	h := parseHelp(string(text))
	if len(h.usage) == 0 {
		return fmt.Errorf("help of %q has no usage: its shape changed", strings.Join(path, " "))
	}
	name := strings.Join(path, "-")
	if err := b.writeGzip("man/man8/"+name+".8", b.commandPage(path, about, h, beside)); err != nil {
		return err
	}
	for _, c := range h.commands {
		if c.name == "help" {
			continue
		}
		below := append(append([]string{}, path...), c.name)
		if err := b.writeCommand(below, c.about, h.commands); err != nil {
			return err
		}
	}
	return nil
}

func (b build) commandPage(path []string, about string, h help, beside []item) []byte {
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
	r.items("FILES", files(path))
	r.section("SEE ALSO")
	r.text(seeAlso(path, h, beside))
	return r.bytes()
}

// exitCodes are those of every command, and what one has beyond them.
func exitCodes(path []string) []item {
	codes := []item{
		{"0", "Done."}, {"1", "An error, told on the standard error with a hint."},
		{"2", "The command line was not understood."},
	}
	found := item{"3", "A check found something; it was printed."}
	failed := item{"78", "The configuration is wrong (EX_CONFIG). The unit is not started again: another start would end the same."}
	switch strings.Join(path, "-") {
	case "ctwarden":
		found.about = "A check found something: ctwarden-doctor(8), ctwarden-audit-verify(8)."
		failed.about = "Of ctwarden-run(8): the configuration is wrong."
		return append(codes, found, failed)
	case "ctwarden-doctor", "ctwarden-audit-verify":
		return append(codes, found)
	case "ctwarden-run":
		return append(codes, failed)
	case "ctwarden-config-check":
		codes[1].about = "The configuration has mistakes, or can't be read."
	case "ctwarden-drill":
		codes[1].about = "Something was not as it should be: a connection died, a value was not put back, or there could be no drill."
	case "ctwarden-revert":
		codes[1].about = "A value could not be put back, or was held back, and why."
	case "ctwarden-status":
		return append(codes, item{"0 to 3", "With --nagios: OK, WARNING, CRITICAL, UNKNOWN."})
	}
	return codes
}

// A file is one that a person may look for, and the commands that read or write it; none is all of them.
type file struct {
	item
	commands string
}

// files are those of a command and of the ones below it.
func files(path []string) []item {
	all := []file{
		{item{"/etc/ctwarden/ctwarden.yaml", "The configuration. Every key has a default, and the file may be missing."}, ""},
		{item{"/var/log/ctwarden/audit.jsonl", "The audit log, rotated by ctwarden itself. Look at it with ctwarden-audit(8)."},
			"run audit incident recommend replay revert"},
		{item{"/var/lib/ctwarden/ledger.json", "What was changed in the kernel, with the values before. ctwarden-revert(8) works by it."},
			"run status revert drill"},
		{item{"/run/ctwarden/control.sock", "The control socket, for root and the group ctwarden."},
			"run status pause resume reload revert metrics doctor"},
		{item{"/usr/share/ctwarden/netns.conf", "A drop-in for the unit that lets the daemon enter the network namespaces of others."}, "run"},
		{item{"/usr/share/ctwarden/metrics.conf", "A drop-in for the unit that lets the daemon answer on the network."}, "run"},
		{item{"/usr/share/doc/ctwarden/operations.md", "What to do when one is woken by an alert, and what each message means."}, "run status"},
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
func seeAlso(path []string, h help, beside []item) string {
	var names []string
	for n := 1; n < len(path); n++ {
		names = append(names, strings.Join(path[:n], "-")+"(8)")
	}
	above, last := path[:len(path)-1], path[len(path)-1]
	if len(above) > 1 {
		for _, c := range beside {
			if c.name != last {
				names = append(names, strings.Join(append(slices.Clone(above), c.name), "-")+"(8)")
			}
		}
	}
	for _, c := range h.commands {
		if c.name != "help" {
			names = append(names, strings.Join(append(slices.Clone(path), c.name), "-")+"(8)")
		}
	}
	if len(path) == 1 {
		names = append(names, "conntrack(8)", "journalctl(1)", "sysctl.d(5)")
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
