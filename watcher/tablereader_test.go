package watcher_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/watcher"
)

// A tree is the files of a made-up kernel, by their path; the content ends
// with a newline.
type tree map[string]string

const (
	netfilter = "proc/sys/net/netfilter/nf_conntrack_"
	statPath  = "proc/thread-self/net/stat/nf_conntrack"
	statHead  = "entries clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error expect_new expect_create expect_delete search_restart"
)

func statText(rows ...[4]uint32) string { // insert_failed, drop, early_drop, chainlength
	text := statHead
	for _, r := range rows {
		text += fmt.Sprintf("\n%08x 0 0 0 0 0 0 %08x 0 %08x %08x %08x 0 0 0 0 0", 9, r[3], r[0], r[1], r[2])
	}
	return text
}

func plain() tree {
	return tree{
		netfilter + "count":                 "1234",
		netfilter + "max":                   "262144",
		netfilter + "buckets":               "65536",
		netfilter + "tcp_timeout_time_wait": "120",
		netfilter + "udp_timeout":           "30",
		statPath:                            statText([4]uint32{1, 2, 3, 4}),
	}
}

func (f tree) write(t *testing.T, root string) {
	t.Helper()
	for path, text := range f {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (f tree) reader(t *testing.T) (*watcher.TableReader, string) {
	t.Helper()
	root := t.TempDir()
	f.write(t, root)
	g := &watcher.TableReader{Root: root}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g, root
}

func read(t *testing.T, g *watcher.TableReader) watcher.Sample {
	t.Helper()
	s, err := g.Read()
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	if s.At.IsZero() {
		t.Error("Read gives no time")
	}
	return s
}

func TestTableReaderReads(t *testing.T) {
	g, root := plain().reader(t)
	want := watcher.Sample{
		Table:        conntrack.Table{Entries: 1234, Max: 262144, Buckets: 65536},
		CountersFrom: watcher.CountersProcfs,
	}
	ignore := cmpopts.IgnoreFields(watcher.Sample{}, "At")
	if diff := cmp.Diff(want, read(t, g), ignore); diff != "" {
		t.Errorf("first reading (-want +got):\n%s", diff)
	}
	tree{
		netfilter + "count": "7", netfilter + "max": "500000", netfilter + "buckets": "8192",
		statPath: statText([4]uint32{11, 22, 33, 44}),
	}.write(t, root)
	want.Table = conntrack.Table{Entries: 7, Max: 500000, Buckets: 8192, Counters: conntrack.Counters{
		InsertFailed: 10, Drop: 20, EarlyDrop: 30, ChainTooLong: 40,
	}}
	if diff := cmp.Diff(want, read(t, g), ignore); diff != "" {
		t.Errorf("second reading, of the same open files (-want +got):\n%s", diff)
	}
}

func TestTableReaderReadsUnusualValues(t *testing.T) {
	for _, c := range []struct {
		name, max string
		want      uint64
	}{
		{"unlimited, up to Linux 6.18", "0", 0},
		{"-1, which old kernels accept", "-1", 4294967295},
		{"the most negative number", "-2147483648", 1 << 31},
		{"the largest number", "4294967295", 4294967295},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := plain()
			f[netfilter+"max"] = c.max
			g, _ := f.reader(t)
			if got := read(t, g).Table.Max; got != c.want {
				t.Errorf("max %s reads as %d, want %d", c.max, got, c.want)
			}
		})
	}
	for _, text := range []string{"", "-", "x", "12x", "4294967296", "-2147483649", "99999999999999999999999", "18446744073709551621", "1\n2", "+1", " 1", "1.0"} {
		t.Run(fmt.Sprintf("no number: %q", text), func(t *testing.T) {
			f := plain()
			f[netfilter+"max"] = text
			g, _ := f.reader(t)
			_, err := g.Read()
			if err == nil || errors.Is(err, watcher.ErrNoTable) || !strings.Contains(err.Error(), "nf_conntrack_max: not a number") {
				t.Errorf("Read: %v, want an error that names the file", err)
			}
		})
	}
}

func TestTableReaderWithoutTable(t *testing.T) {
	for name, missing := range map[string][]string{
		"no module":  {"count", "max", "buckets", "tcp_timeout_time_wait", "udp_timeout"},
		"no count":   {"count"},
		"no max":     {"max"},
		"no buckets": {"buckets"},
	} {
		t.Run(name, func(t *testing.T) {
			f := plain()
			for _, m := range missing {
				delete(f, netfilter+m)
			}
			g, root := f.reader(t)
			for range 2 {
				if _, err := g.Read(); !errors.Is(err, watcher.ErrNoTable) || !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("Read: %v, want ErrNoTable and os.ErrNotExist", err)
				}
			}
			plain().write(t, root)
			if got := read(t, g).Table.Entries; got != 1234 {
				t.Errorf("after the module was loaded: %d entries, want 1234", got)
			}
		})
	}
	t.Run("no timeouts and no access either", func(t *testing.T) {
		g, _ := tree{"proc/sys/kernel/ostype": "Linux"}.reader(t)
		if _, err := g.Timeouts(); !errors.Is(err, watcher.ErrNoTable) {
			t.Errorf("Timeouts: %v, want ErrNoTable", err)
		}
		if _, err := g.Access(); !errors.Is(err, watcher.ErrNoTable) {
			t.Errorf("Access: %v, want ErrNoTable", err)
		}
	})
}

func TestTableReaderWithoutPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("needs an ordinary user: root reads everything")
	}
	g, root := plain().reader(t)
	if err := os.Chmod(filepath.Join(root, netfilter+"count"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Read(); !errors.Is(err, fs.ErrPermission) || errors.Is(err, watcher.ErrNoTable) {
		t.Errorf("Read: %v, want os.ErrPermission", err)
	}
}

func TestTableReaderReadsCountersFromCtnetlink(t *testing.T) {
	f := plain()
	delete(f, statPath)
	g, _ := f.reader(t)
	s := read(t, g)
	if s.CountersFrom != "" || !errors.Is(s.CountersErr, fs.ErrNotExist) || s.Table.Entries != 1234 {
		t.Errorf("reading without counters is %+v, want the entries and os.ErrNotExist", s)
	}
	stats := []conntrack.CPUStat{{Drop: 10}, {Drop: 20}}
	var fault error
	g.Stats = func() ([]conntrack.CPUStat, error) { return stats, fault }
	read(t, g)
	stats = []conntrack.CPUStat{{Drop: 11}, {Drop: 22}}
	if s = read(t, g); s.CountersFrom != watcher.CountersCtnetlink || s.CountersErr != nil || s.Table.Counters.Drop != 3 {
		t.Errorf("reading through ctnetlink is %+v, want 3 drops", s)
	}
	fault = errors.New("mutex held")
	if s = read(t, g); s.CountersFrom != "" || !errors.Is(s.CountersErr, fault) || s.Table.Counters.Drop != 3 {
		t.Errorf("reading with a fault is %+v, want the error and the 3 drops of before", s)
	}
	fault, stats = nil, []conntrack.CPUStat{{Drop: 12}, {Drop: 22}}
	if s = read(t, g); s.Table.Counters.Drop != 4 || s.Resets != 0 {
		t.Errorf("reading after the fault is %+v, want 4 drops and no reset", s)
	}
}

func TestTableReaderKeepsCountersOfATornFile(t *testing.T) {
	g, root := plain().reader(t)
	read(t, g)
	tree{statPath: statHead + "\n00000009 0 0"}.write(t, root)
	s := read(t, g)
	if s.CountersFrom != "" || s.CountersErr == nil || !strings.Contains(s.CountersErr.Error(), "line 2") || s.Table.Entries != 1234 {
		t.Errorf("reading is %+v, want an error that names line 2, and the entries", s)
	}
	tree{statPath: statText([4]uint32{1, 5, 3, 4})}.write(t, root)
	if s = read(t, g); s.Table.Counters.Drop != 3 || s.Resets != 0 {
		t.Errorf("reading after that is %+v, want 3 drops and no reset", s)
	}
}

func TestTableReaderSwitchesTheSourceOfCounters(t *testing.T) {
	f := plain()
	delete(f, statPath)
	g, root := f.reader(t)
	stats := []conntrack.CPUStat{{Drop: 1000}}
	g.Stats = func() ([]conntrack.CPUStat, error) { return stats, nil }
	read(t, g)
	stats = []conntrack.CPUStat{{Drop: 1003}}
	read(t, g)
	stats = []conntrack.CPUStat{{Drop: 2}} // a reset
	read(t, g)
	// procfs appears and knows a part only: no reset, and nothing twice.
	tree{statPath: statText([4]uint32{0, 3, 0, 0})}.write(t, root)
	if s := read(t, g); s.CountersFrom != watcher.CountersCtnetlink {
		t.Errorf("reading is %+v, want no second look for a file that this kernel has not", s)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if s := read(t, g); s.CountersFrom != watcher.CountersProcfs || s.Table.Counters.Drop != 5 || s.Resets != 1 {
		t.Errorf("reading is %+v, want still 5 drops and one reset, from procfs", s)
	}
	tree{statPath: statText([4]uint32{0, 4, 0, 0})}.write(t, root)
	if s := read(t, g); s.Table.Counters.Drop != 6 {
		t.Errorf("%d drops, want 6", s.Table.Counters.Drop)
	}
}

func TestTableReaderAfterModuleReload(t *testing.T) {
	g, root := plain().reader(t)
	read(t, g)
	if err := os.Remove(filepath.Join(root, netfilter+"max")); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil { // a real sysctl answers ENOENT by itself
		t.Fatal(err)
	}
	for range 3 {
		if _, err := g.Read(); !errors.Is(err, watcher.ErrNoTable) {
			t.Fatalf("Read: %v, want ErrNoTable", err)
		}
	}
	f := plain()
	f[statPath] = statText([4]uint32{5, 6, 7, 8})
	f.write(t, root)
	s := read(t, g)
	want := conntrack.Counters{InsertFailed: 5, Drop: 6, EarlyDrop: 7, ChainTooLong: 8}
	if diff := cmp.Diff(want, s.Table.Counters); diff != "" || s.Resets != 1 {
		t.Errorf("counters after one reload, %d resets (-want +got):\n%s", s.Resets, diff)
	}
}

func TestTableReaderReadsManyProcessors(t *testing.T) {
	rows := make([][4]uint32, 512) // 80 KiB, many times the first buffer
	f := plain()
	f[statPath] = statText(rows...)
	g, root := f.reader(t)
	read(t, g)
	rows[511][1] = 9
	tree{statPath: statText(rows...)}.write(t, root)
	if s := read(t, g); s.Table.Counters.Drop != 9 || s.CountersErr != nil {
		t.Errorf("reading is %+v, want 9 drops on the last processor", s)
	}
}

func TestTableReaderTimeouts(t *testing.T) {
	f := plain()
	f[netfilter+"tcp_timeout_established"] = "432000"
	f[netfilter+"gre_timeout"] = "-1" // accepted by proc_dointvec_jiffies
	g, root := f.reader(t)
	got, err := g.Timeouts()
	if err != nil {
		t.Fatal(err)
	}
	want := conntrack.Timeouts{conntrack.TCPTimeWait: 120, conntrack.UDP: 30, conntrack.TCPEstablished: 432000}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Timeouts (-want +got):\n%s", diff)
	}
	tree{netfilter + "udp_timeout": "soon"}.write(t, root)
	if _, err := g.Timeouts(); err == nil || !strings.Contains(err.Error(), "nf_conntrack_udp_timeout") {
		t.Errorf("Timeouts: %v, want an error that names the file", err)
	}
}

func TestTableReaderAccess(t *testing.T) {
	f := plain()
	g, root := f.reader(t)
	if got, err := g.Access(); err != nil || got != (watcher.Access{Max: true, Buckets: true, Timeouts: true}) {
		t.Errorf("Access = %+v, %v, want everything", got, err)
	}
	for _, name := range []string{"buckets", "max"} {
		if err := os.Chmod(filepath.Join(root, netfilter+name), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := g.Access(); err != nil || got != (watcher.Access{Timeouts: true}) {
		t.Errorf("Access = %+v, %v, want timeouts alone", got, err)
	}
	text, err := os.ReadFile(filepath.Join(root, netfilter+"tcp_timeout_time_wait"))
	if err != nil || string(text) != "120\n" {
		t.Errorf("the probe left %q, %v, want it unchanged", text, err)
	}
}
