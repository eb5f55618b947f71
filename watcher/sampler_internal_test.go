package watcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// tableFiles are the files that a Sampler reads, where there is a table.
func tableFiles() map[string]string {
	const stat = "entries searched found new invalid ignore delete delete_list insert insert_failed drop early_drop\n"
	return map[string]string{
		"proc/sys/net/netfilter/nf_conntrack_count":                 "100\n",
		"proc/sys/net/netfilter/nf_conntrack_max":                   "262144\n",
		"proc/sys/net/netfilter/nf_conntrack_buckets":               "262144\n",
		"proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait": "120\n",
		"proc/thread-self/net/stat/nf_conntrack":                    stat + strings.Repeat("00000000 ", 12) + "\n",
		"proc/meminfo":                                              "MemTotal: 16384000 kB\nMemAvailable: 8192000 kB\n",
		"sys/kernel/slab/nf_conntrack/slab_size":                    "256\n",
		"sys/kernel/slab/nf_conntrack/objs_per_slab":                "16\n",
		"sys/kernel/slab/nf_conntrack/order":                        "0\n",
	}
}

// A fakeHost is a kernel of files, which a Sampler reads.
type fakeHost struct {
	t       *testing.T
	root    string
	sampler *Sampler
}

func newFakeHost(t *testing.T) *fakeHost {
	t.Helper()
	h := &fakeHost{t: t, root: t.TempDir()}
	for path, text := range tableFiles() {
		h.write(path, text)
	}
	h.sampler = &Sampler{root: h.root, absent: true}
	h.sampler.reader.Root = h.root
	t.Cleanup(func() { _ = h.sampler.Close() })
	return h
}

// write makes a file anew, as the kernel does when a module is loaded.
func (h *fakeHost) write(path, text string) {
	h.t.Helper()
	path = filepath.Join(h.root, path)
	_ = os.Remove(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// unload removes what comes with the module.
func (h *fakeHost) unload() {
	h.t.Helper()
	for _, path := range []string{"proc/sys/net/netfilter", "proc/thread-self/net", "sys/kernel/slab/nf_conntrack"} {
		if err := os.RemoveAll(filepath.Join(h.root, path)); err != nil {
			h.t.Fatal(err)
		}
	}
	// An open sysctl of a module that is gone does not answer; an open file
	// that was removed does.
	_ = h.sampler.Close()
}

func (h *fakeHost) observe() policy.Observation {
	h.t.Helper()
	o, err := h.sampler.Observe()
	if err != nil {
		h.t.Fatal(err)
	}
	return o
}

func TestSamplerFollowsAModuleReload(t *testing.T) {
	h := newFakeHost(t)
	files := tableFiles()
	h.unload()
	if o := h.observe(); !o.Absent || o.Memory.EntryBytes != 0 {
		t.Errorf("before the module: %+v", o)
	}
	for path, text := range files {
		h.write(path, text)
	}
	o := h.observe()
	if o.Absent || o.Table.Max != 262_144 || o.Memory.EntryBytes != 256 || o.Memory.Assumed {
		t.Errorf("the module was loaded late: %+v", o)
	}
	h.unload()
	if o := h.observe(); !o.Absent {
		t.Errorf("the module was unloaded: %+v", o.Table)
	}
	for path, text := range files {
		h.write(path, text)
	}
	h.write("proc/sys/net/netfilter/nf_conntrack_max", "65536\n")
	h.write("sys/kernel/slab/nf_conntrack/slab_size", "320\n")
	h.write("sys/kernel/slab/nf_conntrack/objs_per_slab", "12\n")
	if o := h.observe(); o.Absent || o.Table.Max != 65_536 || o.Memory.EntryBytes < 320 {
		t.Errorf("the module came back with other values: %+v, %+v", o.Table, o.Memory)
	}
}

// TestSamplerOnUnusualKernels takes the observations of odd kernels to the policy.
func TestSamplerOnUnusualKernels(t *testing.T) {
	limits := policy.Defaults()
	decide := func(o *policy.Observation) policy.Plan {
		var s policy.State
		a := limits.Assess(&s, o)
		return limits.Decide(&s, &a)
	}
	t.Run("max 0 is no limit", func(t *testing.T) {
		h := newFakeHost(t)
		h.write("proc/sys/net/netfilter/nf_conntrack_max", "0\n")
		o := h.observe()
		if p := decide(&o); p.Acts() || p.Held != policy.HeldUnlimited {
			t.Errorf("held %s", p.Held)
		}
	})
	t.Run("a kernel that prints the largest max as -1", func(t *testing.T) {
		h := newFakeHost(t)
		h.write("proc/sys/net/netfilter/nf_conntrack_max", "-1\n")
		if o := h.observe(); o.Table.Max != 4_294_967_295 {
			t.Errorf("max is %d", o.Table.Max)
		}
	})
	t.Run("no counters in procfs", func(t *testing.T) {
		h := newFakeHost(t)
		if err := os.RemoveAll(filepath.Join(h.root, "proc/thread-self")); err != nil {
			t.Fatal(err)
		}
		drops := uint32(7)
		h.sampler.reader.Stats = func() ([]conntrack.CPUStat, error) { return []conntrack.CPUStat{{Drop: drops}}, nil }
		h.observe()
		drops = 12
		if o := h.observe(); o.Table.Counters.Drop != 5 {
			t.Errorf("%d drops, want 5", o.Table.Counters.Drop)
		}
	})
	t.Run("buckets that can't be written are held read-only", func(t *testing.T) {
		h := newFakeHost(t)
		h.write("proc/sys/net/netfilter/nf_conntrack_buckets", "16384\n")
		h.sampler.Writable = func(uint32) policy.Kernel { return policy.Kernel{MaxWritable: true, TimeoutsWritable: true} }
		o := h.observe()
		p := decide(&o)
		for _, act := range p.Actions {
			if act.Type == policy.ResizeHash {
				t.Errorf("would resize the hash: %+v", act)
			}
		}
	})
	t.Run("a torn file of counters", func(t *testing.T) {
		h := newFakeHost(t)
		h.write("proc/thread-self/net/stat/nf_conntrack", strings.Repeat("0", 100))
		if o := h.observe(); o.Absent || o.Table.Max == 0 {
			t.Errorf("the rest was lost with it: %+v", o.Table)
		}
	})
}

func TestSamplerWithoutMeminfo(t *testing.T) {
	h := newFakeHost(t)
	if err := os.Remove(filepath.Join(h.root, "proc/meminfo")); err != nil {
		t.Fatal(err)
	}
	o := h.observe()
	if o.Table.Max != 262_144 || o.Timeouts == (conntrack.Timeouts{}) {
		t.Errorf("the table is not seen: %+v", o)
	}
	limits := policy.Defaults()
	if a := limits.Assess(&policy.State{}, &o); a.Budget.Hold != policy.HeldMemoryUnknown {
		t.Errorf("the budget is %+v, want it held because memory is not known", a.Budget)
	}
}

// TestSamplerReportsAModuleUnloadedBetweenReadings: the files of the table were
// read, those of the timeouts are not there any more.
func TestSamplerReportsAModuleUnloadedBetweenReadings(t *testing.T) {
	h := newFakeHost(t)
	if err := os.Remove(filepath.Join(h.root, "proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait")); err != nil {
		t.Fatal(err)
	}
	if o := h.observe(); !o.Absent || o.Table.Entries != 0 || o.Table.Max != 0 {
		t.Errorf("observed %+v", o)
	}
	h.write("proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait", "90\n")
	if o := h.observe(); o.Absent || o.Timeouts[conntrack.TCPTimeWait] != 90 || o.Memory.EntryBytes != 256 {
		t.Errorf("loaded again: %+v", o)
	}
}
