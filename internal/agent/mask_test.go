package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/policy"
)

func TestMask(t *testing.T) {
	dir := t.TempDir()
	four, six := netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("2001:db8:1:2:3:4:5:6")
	tests := map[config.Mask][2]string{
		config.MaskNone: {"192.0.2.77", "2001:db8:1:2:3:4:5:6"},
		config.MaskNet:  {"192.0.2.0", "2001:db8:1:2::"},
	}
	for kind, want := range tests {
		m, err := newMask(kind, dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]string{m.addr(four).String(), m.addr(six).String()}; got != want {
			t.Errorf("%s: %v, want %v", kind, got, want)
		}
		if m.addr(netip.Addr{}).IsValid() {
			t.Errorf("%s: no address became one", kind)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "mask.key")); err == nil {
		t.Error("a key was made that nobody needs")
	}
}

func TestMaskKeyIsKept(t *testing.T) {
	dir := t.TempDir()
	a, b := netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("192.0.2.78")
	first, err := newMask(config.MaskHash, dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := newMask(config.MaskHash, dir)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newMask(config.MaskHash, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case first.addr(a) != again.addr(a):
		t.Error("another hash after a restart")
	case first.addr(a) == first.addr(b), first.addr(a) == other.addr(a):
		t.Error("different addresses, or different hosts, give the same hash")
	case first.addr(a).As16()[0] != 0xfd:
		t.Errorf("%s is not in fd00::/8", first.addr(a))
	}
	out := policy.Outcome{Entries: &policy.Entries{Samples: []policy.Sample{{Src: a, Dst: b}}}}
	first.outcome(&out)
	first.outcome(&policy.Outcome{})
	if s := out.Entries.Samples[0]; s.Src != again.addr(a) || s.Dst != again.addr(b) {
		t.Errorf("sample %+v is not masked", s)
	}
	top := census.Talkers{
		Sources:  []census.Counted[netip.Addr]{{Key: a}},
		Networks: []census.Counted[netip.Prefix]{{Key: netip.MustParsePrefix("192.0.2.0/24")}},
	}
	first.talkers(&top)
	if top.Sources[0].Key != again.addr(a) || top.Networks != nil {
		t.Errorf("talkers %+v are not masked", top)
	}
	if err := os.WriteFile(filepath.Join(dir, "mask.key"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newMask(config.MaskHash, dir); err == nil {
		t.Error("a torn key was taken")
	}
}
