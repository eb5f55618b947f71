package ctnetlink_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
)

// release reads major and minor of the running kernel.
func release(tb testing.TB) (major, minor int) {
	tb.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		tb.Fatal(err)
	}
	text := unix.ByteSliceToString(u.Release[:])
	number := func() (n int) {
		for len(text) > 0 && text[0] >= '0' && text[0] <= '9' {
			n = n*10 + int(text[0]-'0')
			text = text[1:]
		}
		if len(text) > 0 {
			text = text[1:]
		}
		return n
	}
	return number(), number()
}

func TestProbe(t *testing.T) {
	ns := cttest.NewNS(t)
	for _, entries := range []int{0, 1000} {
		cttest.Fill(t, ns, entries, cttest.Replied())
		f, err := ctnetlink.Probe(t.Context(), ns)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", f)
		if f.DeleteByID != ctnetlink.Yes || f.UpdateTimeout != ctnetlink.Yes {
			t.Errorf("every kernel can delete by id and update: %+v", f)
		}
		major, minor := release(t)
		// Distributions carry features back, so an old version proves nothing;
		// mainline has had them since these.
		if f.StatusFilter == ctnetlink.Unknown || f.StatusFilter == ctnetlink.No && (major > 5 || major == 5 && minor >= 15) {
			t.Errorf("status filter %v on %d.%d", f.StatusFilter, major, minor)
		}
		if f.ZoneFilter == ctnetlink.Unknown || f.ZoneFilter == ctnetlink.No && (major > 6 || major == 6 && minor >= 8) {
			t.Errorf("zone filter %v on %d.%d", f.ZoneFilter, major, minor)
		}
		if got := cttest.Count(t, ns); got != uint64(entries) {
			t.Errorf("the probe left %d of %d entries", got, entries)
		}
	}
}

func TestProbeAgreesWithTheDump(t *testing.T) {
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, 300, cttest.Replied())
	cttest.Fill(t, ns, 200, cttest.Unreplied())
	f, err := ctnetlink.Probe(t.Context(), ns)
	if err != nil {
		t.Fatal(err)
	}
	for _, features := range []ctnetlink.Features{{}, f} {
		q := ctnetlink.Query{StatusMask: conntrack.StatusSeenReply, Features: features}
		d, err := dial(t, ns).Dump(t.Context(), q, func(*conntrack.Entry, *ctnetlink.Key) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		want := uint64(500)
		if features.StatusFilter == ctnetlink.Yes {
			want = 200
		}
		if d.Entries != 200 || d.Seen != want {
			t.Errorf("with %+v: reported %d, seen %d, want 200 and %d", features, d.Entries, d.Seen, want)
		}
	}
}
