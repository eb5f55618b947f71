package ctnetlink_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
)

func dial(tb testing.TB, ns *netns.NS) *ctnetlink.Conn {
	tb.Helper()
	c, err := ctnetlink.Dial(ns)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// list returns all entries that the query selects.
func list(tb testing.TB, ns *netns.NS, q ctnetlink.Query) []conntrack.Entry {
	tb.Helper()
	var entries []conntrack.Entry
	d, err := dial(tb, ns).Dump(tb.Context(), q, func(e *conntrack.Entry, _ *ctnetlink.Key) bool {
		entries = append(entries, *e)
		return true
	})
	if err != nil {
		tb.Fatal(err)
	}
	if d.Unread != 0 {
		tb.Errorf("%d entries could not be decoded", d.Unread)
	}
	return entries
}

// oneOfEach is an entry of every protocol that the running kernel tracks, in
// every TCP state, IPv4 and IPv6, with zones and marks.
func oneOfEach(tb testing.TB) []conntrack.Entry {
	tb.Helper()
	var all []conntrack.Entry
	for state := range conntrack.NumTCPStates {
		all = append(all, cttest.TCP(state))
	}
	all = append(all, cttest.Unreplied(), cttest.Replied(), cttest.Assured())
	protos := []uint8{conntrack.ProtoUDP, conntrack.ProtoSCTP, conntrack.ProtoGRE, conntrack.ProtoTCP}
	if major, minor := release(tb); major < 6 || major == 6 && minor < 17 {
		protos = append(protos, conntrack.ProtoDCCP)
	}
	if major, _ := release(tb); major < 7 { // gone in 7.2 at the latest
		protos = append(protos, conntrack.ProtoUDPLite)
	}
	for i, proto := range protos {
		four := cttest.Unreplied()
		four.Proto, four.Orig.SrcPort, four.Zone, four.Mark = proto, 77, uint16(i), uint32(i)<<31|uint32(i)
		six := cttest.Replied()
		six.Proto, six.Zone = proto, 0xffff
		six.Orig.Src, six.Orig.Dst = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
		nat := cttest.Assured()
		nat.Proto, nat.Orig.SrcPort = proto, 78
		nat.Reply = conntrack.Tuple{
			Src: nat.Orig.Dst, SrcPort: nat.Orig.DstPort,
			Dst: netip.MustParseAddr("203.0.113.1"), DstPort: 40000,
		}
		all = append(all, four, six, nat)
	}
	ping := conntrack.Entry{Proto: conntrack.ProtoICMP, Orig: conntrack.Tuple{
		Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("192.0.2.1"), ICMPID: 0x1234, ICMPType: 8,
	}}
	ping6 := conntrack.Entry{Proto: conntrack.ProtoICMPv6, Orig: conntrack.Tuple{
		Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::2"), ICMPID: 0x1234, ICMPType: 128,
	}}
	generic := conntrack.Entry{Proto: 253, Orig: conntrack.Tuple{
		Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("192.0.2.1"),
	}}
	return append(all, ping, ping6, generic)
}

func TestDumpReportsEveryEntry(t *testing.T) {
	ns := cttest.NewNS(t)
	want := oneOfEach(t)
	cttest.Create(t, ns, want...)
	got := list(t, ns, ctnetlink.Query{})
	ids := map[uint32]bool{}
	for i := range got {
		e := &got[i]
		if e.Timeout == 0 || e.Timeout > 3600 {
			t.Errorf("%v: timeout", e)
		}
		ids[e.ID] = true
		e.Timeout, e.ID = 0, 0 // the kernel's
	}
	if len(ids) != len(got) {
		t.Errorf("%d ids of %d entries", len(ids), len(got))
	}
	for i := range want {
		e := &want[i]
		e.Family = unix.AF_INET
		if e.Orig.Src.Is6() {
			e.Family = unix.AF_INET6
		}
		if !e.Reply.Src.IsValid() {
			e.Reply = cttest.Reversed(e.Orig)
		}
		e.Status |= conntrack.StatusConfirmed
	}
	byText := cmpopts.SortSlices(func(a, b conntrack.Entry) bool {
		return a.String()+a.Reply.String() < b.String()+b.Reply.String()
	})
	if diff := cmp.Diff(want, got, byText, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestDumpReportsTheStartTime(t *testing.T) {
	ns := cttest.NewNS(t)
	err := ns.Do(func() error {
		return os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_timestamp", []byte("1"), 0)
	})
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("needs CONFIG_NF_CONNTRACK_TIMESTAMP")
	}
	if err != nil {
		t.Fatal(err)
	}
	before := uint64(time.Now().UnixNano())
	cttest.Create(t, ns, cttest.Unreplied())
	after := uint64(time.Now().UnixNano())
	got := list(t, ns, ctnetlink.Query{})
	if len(got) != 1 || got[0].Start < before || got[0].Start > after {
		t.Errorf("got %+v, want a start from %d to %d", got, before, after)
	}
}

func TestDumpFilters(t *testing.T) {
	ns := cttest.NewNS(t)
	f, err := ctnetlink.Probe(t.Context(), ns)
	if err != nil {
		t.Fatal(err)
	}
	cttest.Create(t, ns, oneOfEach(t)...)
	all := list(t, ns, ctnetlink.Query{})
	const replied, assured = conntrack.StatusSeenReply, conntrack.StatusAssured
	for name, q := range map[string]ctnetlink.Query{
		"unreplied":                    {StatusMask: replied},
		"replied, not assured":         {Status: replied, StatusMask: replied | assured},
		"assured":                      {Status: assured, StatusMask: assured},
		"IPv4":                         {Family: unix.AF_INET},
		"unreplied IPv6":               {Family: unix.AF_INET6, StatusMask: replied},
		"replied IPv6":                 {Family: unix.AF_INET6, Status: replied, StatusMask: replied},
		"bits outside of the mask":     {Status: assured | replied, StatusMask: replied},
		"a status without a mask: all": {Status: assured},
	} {
		t.Run(name, func(t *testing.T) {
			var want int
			for _, e := range all {
				if (q.Family == 0 || e.Family == q.Family) && e.Status&q.StatusMask == q.Status&q.StatusMask {
					want++
				}
			}
			for _, q.Features = range []ctnetlink.Features{{}, {StatusFilter: ctnetlink.No}, f} {
				if got := list(t, ns, q); len(got) != want {
					t.Errorf("%+v: reported %d of %d, want %d", q.Features, len(got), len(all), want)
				}
			}
		})
	}
}

// A kernel that ignores the filter must not make a difference to what is
// reported: here the filter is trusted where the kernel may or may not know it.
func TestDumpFiltersWhatTheKernelDoesNot(t *testing.T) {
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, 500, cttest.Replied())
	cttest.Fill(t, ns, 100, cttest.Unreplied())
	trusting := ctnetlink.Query{
		StatusMask: conntrack.StatusSeenReply, Features: ctnetlink.Features{StatusFilter: ctnetlink.Yes},
	}
	if got := list(t, ns, trusting); len(got) != 100 {
		t.Errorf("reported %d, want 100", len(got))
	}
}

func TestDumpStops(t *testing.T) {
	const n = 5000
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, n, cttest.Unreplied())
	reported := 0
	for name, test := range map[string]struct {
		query ctnetlink.Query
		more  func() bool
		want  ctnetlink.Stop
	}{
		"when the caller has enough": {ctnetlink.Query{}, func() bool { return reported < 10 }, ctnetlink.ByCaller},
		"after so much time":         {ctnetlink.Query{Box: 1}, nil, ctnetlink.ByTime},
	} {
		t.Run(name, func(t *testing.T) {
			reported = 0
			c := dial(t, ns)
			d, err := c.Dump(t.Context(), test.query, func(*conntrack.Entry, *ctnetlink.Key) bool {
				reported++
				return test.more == nil || test.more()
			})
			if err != nil || d.Stop != test.want || d.Entries != uint64(reported) {
				t.Errorf("reported %d, %+v, %v, want a stop by %v", reported, d, err, test.want)
			}
			// At most the first datagram was taken: the rest was not drained.
			if d.Bytes > 32<<10 || d.Bytes == 0 {
				t.Errorf("%d bytes were read", d.Bytes)
			}
			if test.want == ctnetlink.ByCaller && reported != 10 {
				t.Errorf("reported %d, want 10", reported)
			}
			if _, err := c.Stats(t.Context()); !errors.Is(err, os.ErrClosed) {
				t.Errorf("after a dump that was broken off: %v, want closed", err)
			}
		})
	}
}

func TestDumpLeavesTheConnectionUsable(t *testing.T) {
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, 1000, cttest.Unreplied())
	c := dial(t, ns)
	for range 3 {
		d, err := c.Dump(t.Context(), ctnetlink.Query{Box: time.Hour}, func(*conntrack.Entry, *ctnetlink.Key) bool { return true })
		if err != nil || d.Stop != ctnetlink.Complete || d.Entries != 1000 {
			t.Fatalf("%+v, %v", d, err)
		}
	}
}

func TestDumpEndsWithTheContext(t *testing.T) {
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, 5000, cttest.Unreplied())
	ctx, cancel := context.WithCancel(t.Context())
	d, err := dial(t, ns).Dump(ctx, ctnetlink.Query{}, func(*conntrack.Entry, *ctnetlink.Key) bool {
		cancel()
		return true
	})
	if !errors.Is(err, context.Canceled) || d.Entries >= 5000 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestDumpAllocatesNothingForAnEntry(t *testing.T) {
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, 5000, cttest.Unreplied())
	c := dial(t, ns)
	entries := uint64(0)
	perRun := testing.AllocsPerRun(3, func() {
		d, err := c.Dump(t.Context(), ctnetlink.Query{}, func(*conntrack.Entry, *ctnetlink.Key) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		entries = d.Entries
	})
	// A few for the request; 5000 entries come in some thirty datagrams.
	if entries != 5000 || perRun > 20 {
		t.Errorf("%v allocations for %d entries", perRun, entries)
	}
}

func TestDumpNoticesAResize(t *testing.T) {
	const path = "/proc/sys/net/netfilter/nf_conntrack_buckets"
	if os.Getenv("CTWARDEN_TEST_HOST") != "1" {
		t.Skip("needs CTWARDEN_TEST_HOST=1 to resize the host's conntrack hash")
	}
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, 2000, cttest.Replied())
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(path, before, 0); err != nil {
			t.Error(err)
		}
	})
	now, err := strconv.Atoi(strings.TrimSpace(string(before)))
	if err != nil {
		t.Fatal(err)
	}
	resized := false
	d, err := dial(t, ns).Dump(t.Context(), ctnetlink.Query{}, func(*conntrack.Entry, *ctnetlink.Key) bool {
		if !resized {
			resized = true
			if err := os.WriteFile(path, []byte(strconv.Itoa(2*now)), 0); err != nil {
				t.Error(err)
			}
		}
		return true
	})
	if err != nil || !d.Resized {
		t.Errorf("%+v, %v", d, err)
	}
	d, err = dial(t, ns).Dump(t.Context(), ctnetlink.Query{}, func(*conntrack.Entry, *ctnetlink.Key) bool { return true })
	if err != nil || d.Resized {
		t.Errorf("without a resize: %+v, %v", d, err)
	}
}

func TestCloseEndsADump(t *testing.T) {
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, 1000, cttest.Unreplied())
	c := dial(t, ns)
	_, err := c.Dump(t.Context(), ctnetlink.Query{}, func(*conntrack.Entry, *ctnetlink.Key) bool {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		return true
	})
	if !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want closed", err)
	}
}

func TestDialWithoutPrivilege(t *testing.T) {
	ns := cttest.NewNS(t)
	// The capability is dropped for the thread of the namespace only, which
	// ends with it.
	err := ns.Do(func() error {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		return unix.Capset(&header, &none[0])
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ctnetlink.Dial(ns); !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v, want permission denied", err)
	}
}

func TestDialInAClosedNamespace(t *testing.T) {
	ns := cttest.NewNS(t)
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ctnetlink.Dial(ns); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want closed", err)
	}
}

func BenchmarkDump(b *testing.B) {
	const n = 200_000
	ns := cttest.NewNS(b)
	cttest.NeedRoom(b, n)
	cttest.Fill(b, ns, n, cttest.Unreplied())
	c := dial(b, ns)
	b.ReportAllocs()
	for b.Loop() {
		d, err := c.Dump(b.Context(), ctnetlink.Query{}, func(*conntrack.Entry, *ctnetlink.Key) bool { return true })
		if err != nil || d.Entries != n {
			b.Fatal(d, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/entry")
}
