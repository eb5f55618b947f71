package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/diagnosis"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/watcher"
)

func TestDiagnoseRanksNamespaces(t *testing.T) {
	cttest.NeedRoot(t)
	fill := []int{0, 300, 1200}
	cttest.NeedRoom(t, 1500)
	s := cttest.Mount(t, len(fill), func(i int, ns *netns.NS) { cttest.Fill(t, ns, fill[i], cttest.Assured()) })
	var found diagnosis.Diagnosis
	if err := json.Unmarshal([]byte(run(t, "", "diagnose", "--json")), &found); err != nil {
		t.Fatal(err)
	}
	e := found.Elsewhere
	if e == nil || e.Namespaces < len(fill) || e.Entries < 1500 || e.Missing != "" {
		t.Fatalf("elsewhere is %+v", e)
	}
	at := func(i int) int {
		return slices.IndexFunc(e.Fullest, func(f diagnosis.FullTable) bool { return f.Inode == s.Inodes[i] })
	}
	// Other tests may fill tables at the same time.
	if full := at(2); full < 0 || len(e.Fullest) < namespacesShown && (at(1) < full || at(0) >= 0) {
		t.Errorf("ranked as %+v, want %d, then %d", e.Fullest, s.Inodes[2], s.Inodes[1])
	} else if f := e.Fullest[full]; f.Name != s.Path(2) || f.Fullness != conntrack.Share(1200, cttest.HostMax(t)) {
		t.Errorf("the fullest is told as %+v", f)
	}
	for _, name := range []string{s.Path(2), fmt.Sprint(s.Inodes[2])} {
		if text := run(t, "", "diagnose", "--netns", name); !strings.Contains(text, "table      1200 of ") || strings.Contains(text, "elsewhere") {
			t.Errorf("diagnose --netns %s:\n%s", name, text)
		}
	}
}

// TestDiagnoseFindsNamedNamespace uses the program that people use.
func TestDiagnoseFindsNamedNamespace(t *testing.T) {
	ip, err := exec.LookPath("ip")
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs root and the program ip (Debian package iproute2)")
	}
	name := "ctwarden-test-" + strconv.Itoa(os.Getpid())
	if text, err := exec.CommandContext(t.Context(), ip, "netns", "add", name).CombinedOutput(); err != nil {
		t.Skipf("needs a host on which ip netns add works: %s", text)
	}
	t.Cleanup(func() {
		if text, err := exec.Command(ip, "netns", "delete", name).CombinedOutput(); err != nil {
			t.Errorf("ip netns delete: %s", text)
		}
	})
	ns, err := watcher.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	cttest.Fill(t, ns, 700, cttest.Assured())
	inode := ns.Inode()
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	if text := run(t, "", "diagnose"); !strings.Contains(text, fmt.Sprintf("%s, netns %d", name, inode)) {
		t.Errorf("diagnose does not name it:\n%s", text)
	}
	text := strings.Join(strings.Fields(run(t, "", "diagnose", "--netns", name)), " ")
	if !strings.Contains(text, "table 700 of ") || !strings.Contains(text, fmt.Sprintf("netns %d (%s)", inode, name)) {
		t.Errorf("diagnose --netns %s:\n%s", name, text)
	}
}
