package watcher_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/watcher"
)

const (
	meminfoText  = "MemTotal:       24576000 kB\nMemFree:        20000000 kB\nMemAvailable:   22000000 kB\nMemAvailableX:  1 kB"
	pressureText = "some avg10=12.34 avg60=1.00 avg300=0.00 total=99\nfull avg10=56.78 avg60=0.00 avg300=0.00 total=0"
)

func (f tree) root(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	f.write(t, root)
	return root
}

func TestReadMemory(t *testing.T) {
	f := tree{"proc/meminfo": meminfoText, "proc/pressure/memory": pressureText}
	want := watcher.Memory{Total: 24576000 << 10, Available: 22000000 << 10, Pressure: 1234, HasPressure: true}
	got, err := watcher.ReadMemory(f.root(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ReadMemory (-want +got):\n%s", diff)
	}
	delete(f, "proc/pressure/memory")
	want.Pressure, want.HasPressure = 0, false
	if got, err = watcher.ReadMemory(f.root(t)); err != nil || got != want {
		t.Errorf("ReadMemory without PSI = %+v, %v, want %+v", got, err, want)
	}
	f["proc/pressure/memory"] = strings.Replace(pressureText, "12.34", "100.00", 1)
	if got, err = watcher.ReadMemory(f.root(t)); err != nil || got.Pressure != 10000 {
		t.Errorf("ReadMemory under full pressure = %+v, %v, want 10000", got, err)
	}
}

func TestReadMemoryRefusesMalformedFiles(t *testing.T) {
	for _, c := range []struct{ name, meminfo, pressure, want string }{
		{"no total", "MemAvailable: 1 kB", pressureText, "no MemTotal"},
		{"no available, before Linux 3.14", "MemTotal: 1 kB", pressureText, "no MemAvailable"},
		{"no number", "MemTotal: many kB\nMemAvailable: 1 kB", pressureText, "MemTotal is many kB"},
		{"another unit", "MemTotal: 1 MB\nMemAvailable: 1 kB", pressureText, "MemTotal is 1 MB"},
		{"more than 64 bits", "MemTotal: 18014398509481984 kB\nMemAvailable: 1 kB", pressureText, "MemTotal is"},
		{"no pressure line", meminfoText, "full avg10=0.00", "no line for some"},
		{"a pressure in words", meminfoText, "some avg10=high avg60=0.00", "some avg10 is high"},
		{"a pressure of one digit", meminfoText, "some avg10=1.5 avg60=0.00", "some avg10 is 1.5"},
		{"a pressure beyond all", meminfoText, "some avg10=101.00 avg60=0.00", "some avg10 is 101.00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := watcher.ReadMemory(tree{"proc/meminfo": c.meminfo, "proc/pressure/memory": c.pressure}.root(t))
			if err == nil || !strings.Contains(err.Error(), c.want) || got != (watcher.Memory{}) {
				t.Errorf("ReadMemory = %+v, %v, want an error with %q", got, err, c.want)
			}
		})
	}
	if _, err := watcher.ReadMemory(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadMemory without meminfo: %v, want os.ErrNotExist", err)
	}
}

func TestReadEntrySize(t *testing.T) {
	const (
		slab   = "sys/kernel/slab/nf_conntrack/"
		header = "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables\n"
		helper = netfilter + "helper"
	)
	if os.Getpagesize() != 4096 {
		t.Skip("needs pages of 4096 bytes: the numbers of this test are made for them")
	}
	oldHead := strings.Replace(statHead, "chainlength", "delete_list", 1)
	for _, c := range []struct {
		name string
		tree tree
		want watcher.EntrySize
	}{
		{
			"linux 6.x, as root", tree{slab + "slab_size": "256", slab + "objs_per_slab": "16", slab + "order": "0"},
			watcher.EntrySize{Bytes: 256, From: "sys/kernel/slab/nf_conntrack"},
		},
		{
			"linux 5.10, as root, with the rest of each slab", tree{slab + "slab_size": "320", slab + "objs_per_slab": "25", slab + "order": "1"},
			watcher.EntrySize{Bytes: 328, From: "sys/kernel/slab/nf_conntrack"},
		},
		{
			"the size alone", tree{slab + "slab_size": "320"},
			watcher.EntrySize{Bytes: 320, From: "sys/kernel/slab/nf_conntrack"},
		},
		{
			"slabinfo", tree{"proc/slabinfo": header + "nf_conntrack_expect 0 0 208 19 1 : tunables\nnf_conntrack 75 75 320 25 2 : tunables 0 0 0"},
			watcher.EntrySize{Bytes: 328, From: "proc/slabinfo"},
		},
		{
			"slabinfo of RHEL 7, a cache for each namespace", tree{"proc/slabinfo": header + "nf_conntrack_ffffffff81ae8100 0 0 320 25 2 : tunables"},
			watcher.EntrySize{Bytes: 328, From: "proc/slabinfo"},
		},
		{
			"implausible sizes are not believed", tree{slab + "slab_size": "8", "proc/slabinfo": header + "nf_conntrack 0 0 99999 1 32 : x", helper: "0"},
			watcher.EntrySize{Bytes: 328, Assumed: true, From: "the largest known"},
		},
		{
			"linux 6.1, unprivileged", tree{statPath: statHead},
			watcher.EntrySize{Bytes: 256, Assumed: true, From: "no sysctl nf_conntrack_helper"},
		},
		{
			"linux 5.15, unprivileged", tree{statPath: statHead, helper: "0"},
			watcher.EntrySize{Bytes: 328, Assumed: true, From: "the largest known"},
		},
		{
			"no helper, but an old counter", tree{statPath: oldHead},
			watcher.EntrySize{Bytes: 328, Assumed: true, From: "the largest known"},
		},
		{"nothing known", tree{}, watcher.EntrySize{Bytes: 328, Assumed: true, From: "the largest known"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, watcher.ReadEntrySize(c.tree.root(t))); diff != "" {
				t.Errorf("ReadEntrySize (-want +got):\n%s", diff)
			}
		})
	}
}
