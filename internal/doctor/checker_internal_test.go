package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/netns"
)

// healthy is a host with nothing wrong, as files below a root.
func healthy() map[string]string {
	header := "entries clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error expect_new expect_create expect_delete search_restart\n"
	return map[string]string{
		"proc/sys/net/netfilter/nf_conntrack_count":                       "100\n",
		"proc/sys/net/netfilter/nf_conntrack_max":                         "262144\n",
		"proc/sys/net/nf_conntrack_max":                                   "262144\n",
		"proc/sys/net/netfilter/nf_conntrack_buckets":                     "262144\n",
		"proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait":       "120\n",
		"proc/sys/net/core/message_burst":                                 "10\n",
		"proc/thread-self/net/stat/nf_conntrack":                          header + strings.Repeat("00000000 ", 17) + "\n",
		"proc/meminfo":                                                    "MemTotal: 16384000 kB\nMemAvailable: 8192000 kB\n",
		"proc/self/mountinfo":                                             "",
		"proc/1/comm":                                                     "init\n",
		"dev/kmsg":                                                        "",
		"var/log/ctwarden/x":                                              "",
		"var/lib/ctwarden/x":                                              "",
		"sys/kernel/slab/nf_conntrack/slab_size":                          "256\n",
		"sys/kernel/slab/nf_conntrack/objs_per_slab":                      "16\n",
		"sys/kernel/slab/nf_conntrack/order":                              "0\n",
		"sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
	}
}

// newChecker lays the files out and links what is no file.
func newChecker(t *testing.T, files map[string]string) *checker {
	t.Helper()
	own, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	cfg := config.Default()
	p := &checker{cfg: &cfg, root: t.TempDir(), own: own}
	for path, text := range files {
		path = filepath.Join(p.root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(p.root, "proc/1/ns/net")
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(own.String(), link); err != nil {
		t.Fatal(err)
	}
	return p
}

// examineFiles makes the checks that read files only.
func (p *checker) examineFiles() {
	p.checkSandbox()
	if p.checkTable() {
		p.checkSize()
		p.checkAccess()
		p.checkFiles()
	}
	p.checkSources()
	p.checkStorage()
	p.checkClock()
	p.checkWriters()
}

// complaints are the findings that are not fine, but for what depends on the
// machine of the test.
func (p *checker) complaints() []string {
	var all []string
	for _, f := range p.found {
		elsewhere := f.Check == "time" || f.Check == "journald" || strings.Contains(f.Text, "is in memory")
		if f.Verdict != Fine && !elsewhere {
			all = append(all, fmt.Sprintf("%s %s: %s", f.Area, f.Check, f.Verdict))
		}
	}
	return all
}

func TestWhatIsWrongIsFound(t *testing.T) {
	const netfilter = "proc/sys/net/netfilter/"
	type change = map[string]string // "-" removes
	for name, c := range map[string]struct {
		change change
		want   []string
	}{
		"nothing": {nil, nil},
		"the module is not loaded": {
			change{netfilter + "nf_conntrack_count": "-", netfilter + "nf_conntrack_max": "-", netfilter + "nf_conntrack_buckets": "-"},
			[]string{"table module: note"},
		},
		"the module is loaded and hidden": {
			change{
				netfilter + "nf_conntrack_count": "-", netfilter + "nf_conntrack_max": "-", netfilter + "nf_conntrack_buckets": "-",
				"sys/module/nf_conntrack/refcnt": "1\n",
			},
			[]string{"table module: wrong"},
		},
		"all sysctls are hidden": {
			change{
				netfilter + "nf_conntrack_count": "-", netfilter + "nf_conntrack_max": "-", netfilter + "nf_conntrack_buckets": "-",
				netfilter + "nf_conntrack_tcp_timeout_time_wait": "-", "proc/sys/net/nf_conntrack_max": "-", "proc/sys/net/core/message_burst": "-",
			},
			[]string{"sandbox /proc/sys: wrong", "table module: note"},
		},
		"a namespace that is not the host's": {change{"proc/sys/net/nf_conntrack_max": "-"}, []string{"sandbox namespace: wrong"}},
		"max is 0":                           {change{netfilter + "nf_conntrack_max": "0\n"}, []string{"table max: wrong"}},
		"the table is nearly full":           {change{netfilter + "nf_conntrack_count": "250000\n"}, []string{"table fill: wrong"}},
		"the hash is far too small":          {change{netfilter + "nf_conntrack_buckets": "16384\n"}, []string{"table hash: wrong"}},
		"the hash is small":                  {change{netfilter + "nf_conntrack_buckets": "52429\n"}, []string{"table hash: note"}},
		"a kernel without counters":          {change{"proc/thread-self/net/stat/nf_conntrack": "-"}, []string{"table counters: wrong"}},
		"nobody may read the slab":           {change{"sys/kernel/slab/nf_conntrack/slab_size": "-"}, []string{"table entry size: note"}},
		"there is little memory":             {change{"proc/meminfo": "MemTotal: 512000 kB\nMemAvailable: 200000 kB\n"}, []string{"table budget: note"}},
		"meminfo is hidden":                  {change{"proc/meminfo": "-"}, []string{"table memory: wrong"}},
		"the kernel is mute":                 {change{"proc/sys/net/core/message_burst": "0\n"}, []string{"sources rate limit: wrong"}},
		"no /dev/kmsg":                       {change{"dev/kmsg": "-"}, []string{"sources kmsg: note"}},
		"a clock that stops":                 {change{"sys/devices/system/clocksource/clocksource0/current_clocksource": "jiffies\n"}, []string{"clock source: wrong"}},
		"a file that was not applied": {
			change{"etc/sysctl.d/10-ct.conf": "net.netfilter.nf_conntrack_max = 524288\n"}, []string{"files nf_conntrack_max: wrong"},
		},
		"a file that was applied": {
			change{"etc/sysctl.d/10-ct.conf": "net.netfilter.nf_conntrack_max = 1\nnet.netfilter.nf_conntrack_max = 262144\n"}, nil,
		},
		"another hashsize at the next boot": {
			change{"etc/modprobe.d/ct.conf": "options nf_conntrack hashsize=16384\n"}, []string{"files hashsize: wrong"},
		},
		"the hashsize that is in force": {change{"etc/modprobe.d/ct.conf": "options nf_conntrack hashsize=262000\n"}, nil},
		"kube-proxy with its defaults": {
			change{"proc/77/comm": "kube-proxy\n", "proc/77/cmdline": "kube-proxy\x00--v=2\x00"}, []string{"writers kube-proxy: note"},
		},
		"kube-proxy that leaves max alone": {
			change{"proc/77/comm": "kube-proxy\n", "proc/77/cmdline": "kube-proxy\x00--conntrack-min\x0099\x00--conntrack-max-per-core\x000\x00"}, nil,
		},
		"tuned":           {change{"proc/78/comm": "tuned\n"}, []string{"writers tuned: note"}},
		"no audit folder": {change{"var/log/ctwarden/x": "-"}, []string{"storage audit log: note"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := healthy()
			for path, text := range c.change {
				if text == "-" {
					delete(files, path)
					continue
				}
				files[path] = text
			}
			p := newChecker(t, files)
			p.examineFiles()
			if diff := cmp.Diff(c.want, p.complaints()); diff != "" {
				t.Errorf("complaints (-want +got):\n%s", diff)
			}
			for _, f := range p.found {
				if f.Text == "" || f.Verdict == Wrong && f.Fix == "" && f.Check != "memory" {
					t.Errorf("%+v does not say what it means, or what fixes it", f)
				}
			}
		})
	}
}

// A hash that carries max is rounded up, as the kernel does, and a
// command to paste must not stop the traffic of the host without a word.
func TestAResizeThatStallsIsNotForNow(t *testing.T) {
	const netfilter = "proc/sys/net/netfilter/nf_conntrack_"
	for entries, want := range map[string]string{
		"165000\n": "sysctl -w net.netfilter.nf_conntrack_buckets=262144",
		"700000\n": "sysctl -w net.netfilter.nf_conntrack_buckets=262144   # when it is quiet: now tracked packets would wait for some 211ms",
	} {
		files := healthy()
		files[netfilter+"max"], files[netfilter+"buckets"], files[netfilter+"count"] = "1048575\n", "65536\n", entries
		p := newChecker(t, files)
		p.checkTable()
		p.checkSize()
		for _, f := range p.found {
			if f.Check == "hash" && f.Fix != want {
				t.Errorf("%s entries: %s, want %s", strings.TrimSpace(entries), f.Fix, want)
			}
		}
	}
}

// TestAnotherNamespaceIsFound has no table, so that only the first process can
// tell.
func TestAnotherNamespaceIsFound(t *testing.T) {
	files := healthy()
	delete(files, "proc/sys/net/netfilter/nf_conntrack_max")
	p := newChecker(t, files)
	link := filepath.Join(p.root, "proc/1/ns/net")
	if err := errors.Join(os.Remove(link), os.Symlink("net:[1]", link)); err != nil {
		t.Fatal(err)
	}
	p.checkSandbox()
	if diff := cmp.Diff([]string{"sandbox namespace: wrong"}, p.complaints()); diff != "" || !p.foreign {
		t.Errorf("foreign %t, complaints (-want +got):\n%s", p.foreign, diff)
	}
	p.found = nil
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	p.checkSandbox()
	if diff := cmp.Diff([]string{"sandbox namespace: note"}, p.complaints()); diff != "" || p.foreign {
		t.Errorf("unknown: foreign %t, complaints (-want +got):\n%s", p.foreign, diff)
	}
}

func TestWhoAsksIsFound(t *testing.T) {
	p := newChecker(t, healthy())
	p.checkCaller(0)
	p.checkCaller(1000)
	if diff := cmp.Diff([]string{"doctor asked by: note"}, p.complaints()); diff != "" {
		t.Errorf("complaints (-want +got):\n%s", diff)
	}
}

func TestAPlaceThatCannotBeWrittenToIsFound(t *testing.T) {
	p := newChecker(t, healthy())
	p.checkDir("audit log", filepath.Join(p.root, "proc/meminfo")) // no directory
	if diff := cmp.Diff([]string{"storage audit log: wrong"}, p.complaints()); diff != "" {
		t.Errorf("complaints (-want +got):\n%s", diff)
	}
}

// TestExamineThisHost makes all checks, whatever they find.
func TestExamineThisHost(t *testing.T) {
	cfg := config.Default()
	dir := t.TempDir()
	cfg.State.Dir, cfg.Audit.Path, cfg.Control.Socket = dir, filepath.Join(dir, "audit.jsonl"), filepath.Join(dir, "s")
	found, err := Examine(t.Context(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	areas := map[string]bool{}
	for _, f := range found {
		areas[f.Area] = true
		t.Logf("%-10s %-20s %-6s %s", f.Area, f.Check, f.Verdict, f.Text)
	}
	for _, area := range []string{"table", "ctnetlink", "sources", "sandbox", "storage", "writers", "netns", "daemon"} {
		if !areas[area] {
			t.Errorf("nothing was checked of %s", area)
		}
	}
}
