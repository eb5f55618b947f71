package ctnetlink_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
)

func TestStatsHasARowForEachProcessor(t *testing.T) {
	ns := cttest.NewNS(t)
	stats, err := dial(t, ns).Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(os.Getpid(), &set); err != nil {
		t.Fatal(err)
	}
	if len(stats) < set.Count() || len(stats) == 0 {
		t.Errorf("%d rows for at least %d processors", len(stats), set.Count())
	}
	again, err := ctnetlink.ReadStats(t.Context(), ns)
	if err != nil || len(again) != len(stats) {
		t.Errorf("%d rows on a connection of its own, want %d: %v", len(again), len(stats), err)
	}
}

// The two sources must tell the same, row by row.
func TestStatsAgreeWithProcfs(t *testing.T) {
	ns := cttest.NewNS(t)
	c := dial(t, ns)
	text, err := os.ReadFile(filepath.Join("/proc/self/task", strconv.Itoa(ns.TID()), "net/stat/nf_conntrack"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("needs CONFIG_NF_CONNTRACK_PROCFS")
	}
	if err != nil {
		t.Fatal(err)
	}
	want, err := conntrack.ParseCPUStats(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		want[i].Entries = 0 // procfs repeats the namespace's count
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-procfs +ctnetlink\n%s", diff)
	}
}
