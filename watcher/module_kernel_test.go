package watcher_test

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/watcher"
)

// unload removes a module and what depends on it, in that order, and returns
// what it removed. Namespaces that hold a module are taken down by a worker of
// the kernel, which is waited for.
func unload(t *testing.T, name string) (removed []string) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) { // the kernel's work
		users, loaded := moduleUsers(t, name)
		if !loaded {
			return removed
		}
		for _, user := range users {
			removed = append(removed, unload(t, user)...)
		}
		err := unix.DeleteModule(name, unix.O_NONBLOCK)
		if err == nil {
			return append(removed, name)
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Since(begun) > 30*time.Second {
			t.Fatalf("unload %s: %v", name, err)
		}
	}
}

// moduleUsers says which modules use one, by a line such as
// "nf_conntrack 176128 2 nf_conntrack_netlink,nft_ct, Live 0x0".
func moduleUsers(t *testing.T, name string) (users []string, loaded bool) {
	t.Helper()
	text, err := os.ReadFile("/proc/modules")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[0] != name {
			continue
		}
		for user := range strings.SplitSeq(strings.Trim(fields[3], ","), ",") {
			if user != "" && user != "-" {
				users = append(users, user)
			}
		}
		return users, true
	}
	return nil, false
}

func load(t *testing.T, name, parameters string) {
	t.Helper()
	f, err := os.Open("/modules/" + name + ".ko")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), parameters, 0); err != nil && !errors.Is(err, unix.EEXIST) {
		t.Fatalf("load %s: %v", name, err)
	}
}

func TestTableReaderFollowsAModuleReload(t *testing.T) {
	if !inVM() {
		t.Skip("needs CTWARDEN_TEST_VM=1: it unloads nf_conntrack")
	}
	if _, loaded := moduleUsers(t, "nf_conntrack"); !loaded {
		t.Skip("needs nf_conntrack as a module")
	}
	g := &watcher.TableReader{}
	t.Cleanup(func() { _ = g.Close() })
	before := read(t, g)
	removed := unload(t, "nf_conntrack")
	if s, err := g.Read(); !errors.Is(err, watcher.ErrNoTable) {
		t.Errorf("without the module: %+v, %v", s, err)
	}
	if _, err := g.Timeouts(); !errors.Is(err, watcher.ErrNoTable) {
		t.Errorf("timeouts without the module: %v", err)
	}
	var known watcher.Known
	if s := known.Sweep(1); s.Entries != 0 {
		t.Errorf("swept %+v", s)
	}
	for _, name := range slices.Backward(removed) {
		parameters := ""
		if name == "nf_conntrack" {
			parameters = "hashsize=4096"
		}
		load(t, name, parameters)
	}
	after := read(t, g)
	if after.Table.Buckets != 4096 || after.Table.Max == 0 {
		t.Errorf("came back as %+v, want 4096 buckets", after.Table)
	}
	if c := after.Table.Counters; c.Drop < before.Table.Counters.Drop || c.Drop-before.Table.Counters.Drop > 1<<20 {
		t.Errorf("drops went from %d to %d", before.Table.Counters.Drop, c.Drop)
	}
	putBack(t, "nf_conntrack_buckets", before.Table.Buckets)
	putBack(t, "nf_conntrack_max", before.Table.Max) // which writing the other may have changed
}

func putBack(t *testing.T, name string, value uint64) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/netfilter/"+name, strconv.AppendUint(nil, value, 10), 0); err != nil {
		t.Errorf("put %s back: %v", name, err)
	}
}
