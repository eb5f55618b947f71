package watcher_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/watcher"
)

func TestSettings(t *testing.T) {
	root := t.TempDir()
	tree{
		"etc/sysctl.d/50-conntrack.conf":     "# max\nnet.netfilter.nf_conntrack_max = 100000\n\n-net/netfilter/nf_conntrack_udp_timeout=20\nnet.ipv4.ip_forward=1\n",
		"usr/lib/sysctl.d/50-conntrack.conf": "net.netfilter.nf_conntrack_max = 1\n",
		"usr/lib/sysctl.d/10-first.conf":     "net.nf_conntrack_max=7\nnot a setting\n",
		"etc/sysctl.conf":                    "net.netfilter.nf_conntrack_buckets=4096",
	}.write(t, root)
	want := []watcher.Setting{
		{Sysctl: "nf_conntrack_max", Value: "7", File: root + "/usr/lib/sysctl.d/10-first.conf", Line: 1},
		{Sysctl: "nf_conntrack_max", Value: "100000", File: root + "/etc/sysctl.d/50-conntrack.conf", Line: 2},
		{Sysctl: "nf_conntrack_udp_timeout", Value: "20", File: root + "/etc/sysctl.d/50-conntrack.conf", Line: 4},
		{Sysctl: "nf_conntrack_buckets", Value: "4096", File: root + "/etc/sysctl.conf", Line: 1},
	}
	if diff := cmp.Diff(want, watcher.Settings(root)); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if got := watcher.Settings(t.TempDir()); got != nil {
		t.Errorf("settings of nothing: %v", got)
	}
}

func TestLikelyWriter(t *testing.T) {
	kube := tree{"proc/41/comm": "kube-proxy\n", "proc/7/comm": "bash\n"}
	tests := map[string]struct {
		files  tree
		sysctl string
		want   string
	}{
		"nobody known":                         {nil, "nf_conntrack_max", "an administrator"},
		"kube-proxy sets max":                  {kube, "nf_conntrack_max", "kube-proxy (pid 41)"},
		"kube-proxy sets established":          {kube, "nf_conntrack_tcp_timeout_established", "kube-proxy (pid 41)"},
		"kube-proxy does not set udp_timeout":  {kube, "nf_conntrack_udp_timeout", "an administrator"},
		"tuned may set anything":               {tree{"proc/9/comm": "tuned\n"}, "nf_conntrack_udp_timeout", "tuned (pid 9)"},
		"the value of a file was applied anew": {tree{"etc/sysctl.d/a.conf": "net.netfilter.nf_conntrack_max=5"}, "nf_conntrack_max", "systemd-sysctl or sysctl --system, from ROOT/etc/sysctl.d/a.conf:1"},
		"another value is not of the file":     {tree{"etc/sysctl.d/a.conf": "net.netfilter.nf_conntrack_max=6"}, "nf_conntrack_max", "an administrator"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			test.files.write(t, root)
			got := watcher.LikelyWriter(root, test.sysctl, 5)
			if want := strings.ReplaceAll(test.want, "ROOT", root); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestModuleOptions(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		"etc/modprobe.d/ct.conf":     "# options nf_conntrack hashsize=1\noptions nf_conntrack hashsize=131072 acct=1\noptions nf-conntrack expect_hashsize=64\n",
		"usr/lib/modprobe.d/ct.conf": "options nf_conntrack hashsize=2\n",
		"lib/modprobe.d/zz.conf":     "options nf_conntrack_ftp ports=2121\nblacklist nf_conntrack\noptions nf_conntrack\n",
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(root, "etc/modprobe.d/ct.conf")
	want := []watcher.Setting{
		{Sysctl: "hashsize", Value: "131072", File: file, Line: 2},
		{Sysctl: "acct", Value: "1", File: file, Line: 2},
		{Sysctl: "expect_hashsize", Value: "64", File: file, Line: 3},
	}
	if diff := cmp.Diff(want, watcher.ModuleOptions(root)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
