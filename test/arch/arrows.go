package arch

import (
	"slices"
	"strconv"
	"strings"
)

// arrows maps each package to the packages of this module that its code may import. Tests may import more: a test of the
// loop drives it with a simulated table. A new package gets its arrows here first.
func arrows() map[string][]string {
	return map[string][]string{
		"policy": {"internal/conntrack", "internal/census"},
		// policy: the watcher returns its Observation, and it decides which namespaces are watched one by one.
		"watcher": {"policy", "internal/conntrack", "internal/ctnetlink", "internal/netns", "internal/sysctl"},
		// ui: words of the shell, for the commands that undo a change.
		"remediate":          {"policy", "internal/conntrack", "internal/ctnetlink", "internal/netns", "internal/record", "internal/ui", "internal/sysctl"},
		"internal/conntrack": {},
		"internal/netns":     {},
		// conntrack: printable text in an error.
		"internal/sysctl":    {"internal/conntrack"},
		"internal/ui":        {"internal/conntrack"},
		"internal/census":    {"internal/conntrack"},
		"internal/ctnetlink": {"internal/conntrack", "internal/netns"},
		"internal/record":    {"policy", "internal/conntrack", "internal/census"},
		"internal/audit":     {"internal/conntrack", "internal/record"},
		// policy: it decides recorded plans again. The audit log itself is written without it.
		"internal/audit/verify": {"policy", "internal/audit", "internal/record"},
		"internal/tablesim":     {"policy", "internal/conntrack", "internal/census"},
		"internal/config":       {"policy", "internal/conntrack", "internal/record", "internal/ui"},
		"internal/advice":       {"policy", "internal/conntrack", "internal/census"},
		"internal/incident":     {"policy", "internal/conntrack", "internal/census", "internal/record", "internal/advice"},
		"internal/replay":       {"policy", "internal/incident", "internal/tablesim"},
		"internal/report":       {"policy", "internal/advice", "internal/conntrack", "internal/audit", "internal/incident", "internal/ui"},
		"internal/control":      {},
		"internal/metrics":      {"policy", "watcher", "internal/conntrack", "internal/audit", "internal/loop", "internal/record", "internal/status"},
		// Its parts are the types of those that make them; without a daemon it reads table and ledger itself.
		"internal/status":  {"policy", "watcher", "remediate", "internal/audit", "internal/control", "internal/loop", "internal/netns"},
		"internal/sandbox": {"internal/netns"},
		// watcher: a namespace and a sweep of them.
		"internal/diagnosis": {"policy", "internal/advice", "watcher", "internal/conntrack", "internal/census", "internal/audit", "internal/ui"},
		"internal/doctor": {
			"policy", "watcher", "remediate", "internal/conntrack", "internal/netns", "internal/ctnetlink", "internal/config",
			"internal/audit", "internal/control", "internal/status", "internal/ui", "internal/advice",
		},
		// It ties all of these together; only the command line and the drill import it.
		"internal/agent": {
			"policy", "watcher", "remediate", "internal/conntrack", "internal/netns", "internal/ctnetlink", "internal/census",
			"internal/record", "internal/audit", "internal/config", "internal/control", "internal/loop", "internal/metrics", "internal/status", "internal/ui",
		},
		"internal/drill": {
			"policy", "watcher", "remediate", "internal/netns", "internal/sandbox", "internal/record", "internal/audit", "internal/config",
			"internal/loop", "internal/agent",
		},
		// census: its summary is what one of the functions returns that the daemon is given.
		"internal/loop": {"policy", "internal/census", "internal/record"},

		"internal/sandbox/sandboxtest": {"internal/sandbox", "internal/netns"},
		"internal/ctnetlink/cttest":    {"internal/conntrack", "internal/netns"},
		"test/event":                   {},
		"test/qemu":                    {},
		"test/arch":                    {},
	}
}

// owners maps a library to the packages that may import it.
func owners() map[string]string {
	return map[string]string{
		"github.com/spf13/viper":                 "internal/config",
		"github.com/spf13/cobra":                 "internal/cli, packaging/gen",
		"github.com/ti-mo/conntrack":             "internal/ctnetlink",
		"github.com/euank/go-kmsg-parser/v2":     "watcher",
		"github.com/coreos/go-systemd/v22":       "internal/agent, internal/cli, watcher, internal/audit, internal/loop",
		"github.com/guptarohit/asciigraph":       "internal/ui",
		"github.com/prometheus/client_golang":    "internal/metrics",
		"github.com/prometheus/exporter-toolkit": "internal/control",
	}
}

// purePackages have no effects and no clock: same inputs, same results.
func purePackages() []string {
	return []string{
		"policy", "internal/advice", "internal/census", "internal/incident", "internal/conntrack", "internal/record", "internal/replay",
		"internal/tablesim",
	}
}

// pureImports is the part of the standard library that computes and does nothing else.
func pureImports() []string {
	return []string{
		"bytes", "cmp", "container/heap", "crypto/sha256", "encoding/binary", "encoding/hex", "encoding/json", "errors", "fmt",
		"hash/fnv", "hash/maphash", "iter", "maps", "math", "math/bits", "math/rand/v2", "net/netip", "slices", "sort",
		"strconv", "strings", "time", "unicode", "unicode/utf8",
	}
}

// alsoPure are further imports that have no effect in one package, though they may in others.
func alsoPure() map[string][]string {
	return map[string][]string{
		// Its scenarios are compiled in, and a timeline is written to a writer that it is given.
		"internal/tablesim": {"embed", "io", "io/fs"},
	}
}

func (p *Package) pure() bool { return slices.Contains(purePackages(), p.Dir) }

// free reports whether the package may import any other: the commands, which tie the rest together, the programs that
// make the packages, and what is below test/ and has no arrows of its own.
func (p *Package) free() bool {
	return p.Dir == "internal/cli" || under(p.Dir, "cmd") || under(p.Dir, "packaging") || (under(p.Dir, "test") && arrows()[p.Dir] == nil)
}

func (p *Package) checkImports() []Violation {
	var found []Violation
	allowed, known := arrows()[p.Dir]
	if !known && !p.free() {
		f := p.Files[0]
		found = append(found, p.violation(f, f.Syntax.Package, "package %s has no arrows: draw them in test/arch first", p.Dir))
	}
	for _, f := range p.Files {
		for _, spec := range f.Syntax.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				continue // The parser has accepted the path.
			}
			if why := p.refusal(f, name, allowed); why != "" {
				found = append(found, p.violation(f, spec.Pos(), "%s imports %s: %s", p.Dir, name, why))
			}
			if spec.Name != nil && spec.Name.Name == "." {
				found = append(found, p.violation(f, spec.Pos(), "dot import of %s hides where a name comes from", name))
			}
		}
	}
	return found
}

// refusal returns why the package may not import name, or "".
func (p *Package) refusal(f *File, name string, allowed []string) string {
	inside, own := strings.CutPrefix(name, Module+"/")
	switch {
	case own && under(inside, "cmd"):
		return "nothing imports a command"
	case own && under(inside, "test") && !under(p.Dir, "test"):
		return "only test/ imports test/"
	case f.Test:
		return ""
	case own && strings.HasSuffix(inside, "test") && !under(p.Dir, "test"):
		return "only tests may"
	case own && !p.free() && inside != p.Dir && !slices.Contains(allowed, inside):
		return "no arrow leads there"
	case !own && p.pure() && !slices.Contains(pureImports(), name) && !slices.Contains(alsoPure()[p.Dir], name):
		return "the package is pure"
	}
	for library, owner := range owners() {
		if under(name, library) && !under(p.Dir, "test") && !slices.Contains(strings.Split(owner, ", "), p.Dir) {
			return "only " + owner + " may"
		}
	}
	return ""
}

// under reports whether name is dir or below it.
func under(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, dir+"/")
}
