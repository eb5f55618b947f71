package watcher

import (
	"bufio"
	"bytes"
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A CompetingWriter is a running program that is known to write the sysctls of
// connection tracking.
type CompetingWriter struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
}

// competingNames are the programs' names in /proc/PID/comm, at most 15 bytes.
var competingNames = []string{"kube-proxy", "tuned", "bpftune", "calico-node", "cilium-agent"}

// CompetingWriters lists the competing writers that run now. It leaves out
// processes that end meanwhile and those hidden by hidepid.
func CompetingWriters(root string) []CompetingWriter {
	paths, err := filepath.Glob(filepath.Join(cmp.Or(root, "/"), "proc", "[0-9]*", "comm"))
	if err != nil {
		return nil // only a bad pattern fails
	}
	var found []CompetingWriter
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		name := string(bytes.TrimSpace(text))
		if !slices.Contains(competingNames, name) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			found = append(found, CompetingWriter{name, pid})
		}
	}
	slices.SortFunc(found, func(a, b CompetingWriter) int { return cmp.Compare(a.PID, b.PID) })
	return found
}

// A Setting is a line of a sysctl.d file about connection tracking.
type Setting struct {
	// Sysctl is the name below net.netfilter, as in nf_conntrack_max.
	Sysctl string `json:"sysctl"`
	Value  string `json:"value"`
	File   string `json:"file"`
	Line   int    `json:"line"`
}

// sysctlDirs are where systemd-sysctl and sysctl --system read, the strongest
// first. A file hides those of the same name in later directories.
var sysctlDirs = []string{"etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"}

// Settings reads the lines of sysctl.d about connection tracking, in the order
// in which they are applied: the last line about a sysctl counts. See
// sysctl.d(5).
func Settings(root string) []Setting {
	root = cmp.Or(root, "/")
	var found []Setting
	for _, path := range configFiles(root, sysctlDirs) {
		found = append(found, settingsIn(path)...)
	}
	// sysctl --system reads this one last; systemd-sysctl only where
	// 99-sysctl.conf links to it.
	return append(found, settingsIn(filepath.Join(root, "etc/sysctl.conf"))...)
}

// configFiles lists the files of such directories in the order of their names;
// a file hides those of the same name in later directories.
func configFiles(root string, dirs []string) []string {
	files := map[string]string{}
	for _, dir := range dirs {
		paths, err := filepath.Glob(filepath.Join(root, dir, "*.conf"))
		if err != nil {
			continue // only a bad pattern fails
		}
		for _, path := range paths {
			if name := filepath.Base(path); files[name] == "" {
				files[name] = path
			}
		}
	}
	ordered := make([]string, 0, len(files))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		ordered = append(ordered, files[name])
	}
	return ordered
}

func settingsIn(path string) []Setting {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var found []Setting
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		key, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		key = strings.ReplaceAll(strings.TrimPrefix(strings.TrimSpace(key), "-"), "/", ".")
		// net.nf_conntrack_max is another name of the same value.
		name, netfilter := strings.CutPrefix(key, "net.netfilter.")
		if !netfilter {
			name, netfilter = strings.CutPrefix(key, "net.")
		}
		if ok && netfilter && strings.HasPrefix(name, "nf_conntrack_") {
			found = append(found, Setting{name, strings.TrimSpace(value), path, n})
		}
	}
	return found
}

// LikelyWriter names the program that probably set a sysctl to a value that
// ctwarden did not write. The kernel does not record the writer.
func LikelyWriter(root, sysctl string, value uint64) string {
	for _, s := range slices.Backward(Settings(root)) {
		if s.Sysctl == sysctl && s.Value == strconv.FormatUint(value, 10) {
			return "systemd-sysctl or sysctl --system, from " + s.File + ":" + strconv.Itoa(s.Line)
		}
	}
	writers := CompetingWriters(root)
	for _, r := range writers {
		// kube-proxy sets max, and the timeouts of ESTABLISHED and CLOSE_WAIT.
		others := sysctl != conntrack.SysctlMax && !strings.HasSuffix(sysctl, "_established") && !strings.HasSuffix(sysctl, "_close_wait")
		if r.Name == "kube-proxy" && others {
			continue
		}
		return r.Name + " (pid " + strconv.Itoa(r.PID) + ")"
	}
	return "an administrator"
}

// moduleDirs are the directories of modprobe, the strongest first; see modprobe.d(5).
var moduleDirs = []string{"etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d"}

// ModuleOptions reads the options of nf_conntrack in modprobe.d, such as
// hashsize. Sysctl is then the name of the option.
func ModuleOptions(root string) []Setting {
	var found []Setting
	for _, path := range configFiles(cmp.Or(root, "/"), moduleDirs) {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		for n := 1; lines.Scan(); n++ {
			words := strings.Fields(lines.Text())
			if len(words) < 3 || words[0] != "options" || strings.ReplaceAll(words[1], "-", "_") != "nf_conntrack" {
				continue
			}
			for _, word := range words[2:] {
				if option, value, ok := strings.Cut(word, "="); ok {
					found = append(found, Setting{option, value, path, n})
				}
			}
		}
	}
	return found
}
