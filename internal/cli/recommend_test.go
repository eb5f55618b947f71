package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// recommended writes the files of the drill's incident, with ports that are to
// stay untracked, and returns their directory.
func recommended(t *testing.T) string {
	t.Helper()
	needDrillLog(t)
	dir := filepath.Join(t.TempDir(), "fix")
	runCommand(t, exitOK, "recommend", "--log", drillLog, "--notrack", "6379/tcp,53/udp", "--write", dir)
	return dir
}

// loadRules runs a program in a namespace of its own, and skips without it.
func loadRules(t *testing.T, argv ...string) string {
	t.Helper()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		t.Skipf("needs %s: %v", argv[0], err)
	}
	ns, err := netns.New()
	if errors.Is(err, os.ErrPermission) && os.Getuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN to make a network namespace")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	})
	var out []byte
	err = ns.Do(func() (err error) {
		out, err = exec.Command(path, argv[1:]...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Errorf("%q: %v: %s", argv, err, out)
	}
	return string(out)
}

func TestRecommendedFilesAreValid(t *testing.T) {
	dir := recommended(t)
	tests := map[string]struct {
		argv []string
		want string
	}{
		"nft":       {[]string{"nft", "-c", "-f", dir + "/nftables.d/90-notrack.nft"}, ""},
		"iptables":  {[]string{"iptables-restore", "--test", "--noflush", dir + "/iptables/90-notrack.rules"}, ""},
		"ip6tables": {[]string{"ip6tables-restore", "--test", "--noflush", dir + "/iptables/90-notrack.rules"}, ""},
		// max and buckets can't be written in this namespace, and it says so.
		"sysctl, without doing": {[]string{"sysctl", "--dry-run", "-p", dir + "/sysctl.d/90-conntrack.conf"}, "nf_conntrack_tcp_timeout_syn_recv = 30"},
		"modprobe":              {[]string{"modprobe", "-c", "-C", dir + "/modprobe.d"}, "options nf_conntrack hashsize="},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := loadRules(t, tt.argv...); !strings.Contains(got, tt.want) {
				t.Errorf("%q says %q, want %q in it", tt.argv, got, tt.want)
			}
		})
	}
}
