package watcher

import (
	"testing"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/sysctl"
)

func FuzzHostText(f *testing.F) {
	f.Add([]byte("MemTotal:       24576000 kB\n"))
	f.Add([]byte("MemTotal: 18014398509481984 kB\n"))
	f.Add([]byte("some avg10=100.00 avg60=0.00 avg300=0.00 total=0\n"))
	f.Add([]byte("nf_conntrack 75 75 320 25 2 : tunables 0 0 0\n"))
	f.Add([]byte("nf_conntrack 0 0 18446744073709551615 18446744073709551615 1048576\n"))
	f.Add([]byte("-1\n"))
	f.Add([]byte("4294967295\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := meminfo(text, "MemTotal")
		if n%1024 != 0 || err != nil && n != 0 {
			t.Errorf("meminfo(%q) = %d, %v", text, n, err)
		}
		printable(t, err)
		p, err := pressure(text)
		if p > 10099 || err != nil && p != 0 {
			t.Errorf("pressure(%q) = %d, %v", text, p, err)
		}
		printable(t, err)
		if size, ok := slabinfo(text, 4096); ok && (size < 240 || size > 4096) {
			t.Errorf("slabinfo(%q) = %d", text, size)
		}
		v, err := sysctl.Parse(text)
		if v > 1<<32-1 || err != nil && v != 0 {
			t.Errorf("sysctl.Parse(%q) = %d, %v", text, v, err)
		}
		printable(t, err)
	})
}

func printable(t *testing.T, err error) {
	t.Helper()
	if err != nil && conntrack.Printable(err.Error(), 1<<12) != err.Error() {
		t.Errorf("the error is not printable: %q", err)
	}
}
