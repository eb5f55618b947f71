package ctnetlink_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
)

func unreplied(e *conntrack.Entry) bool { return e.Status.Unreplied() }

func anyEntry(*conntrack.Entry) bool { return true }

func TestSweepDeletesChosenEntries(t *testing.T) {
	ns := cttest.NewNS(t)
	keep := oneOfEach(t)
	cttest.Create(t, ns, keep...)
	before := ids(list(t, ns, ctnetlink.Query{}), func(e *conntrack.Entry) bool { return !unreplied(e) })
	swept, err := ctnetlink.Sweep{NS: ns, Limit: 1000}.Delete(t.Context(), unreplied)
	if err != nil {
		t.Fatal(err)
	}
	want := uint64(len(keep) - len(before))
	if swept.Done != want || swept.Chosen != want || swept.Gone != 0 || swept.Failed != 0 || swept.Limited {
		t.Errorf("%+v, want %d deleted", swept, want)
	}
	if swept.Dump.Stop != ctnetlink.Complete || swept.Dump.Seen != uint64(len(keep)) {
		t.Errorf("dump %+v of %d entries", swept.Dump, len(keep))
	}
	after := ids(list(t, ns, ctnetlink.Query{}), func(*conntrack.Entry) bool { return true })
	if diff := cmp.Diff(before, after, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("what was not chosen: -before +after\n%s", diff)
	}
}

// A place is what no two entries share. An id is not: it is a hash of 32
// bits, and of 200,000 entries some five pairs have the same.
type tupleZone struct {
	Orig  conntrack.Tuple
	Proto uint8
	Zone  uint16
}

// ids tells the id at the place of each entry that want picks.
func ids(entries []conntrack.Entry, want func(*conntrack.Entry) bool) map[tupleZone]uint32 {
	m := map[tupleZone]uint32{}
	for i := range entries {
		if e := &entries[i]; want(e) {
			m[tupleZone{e.Orig, e.Proto, e.Zone}] = e.ID
		}
	}
	return m
}

func TestSweepSparesTheRepliedUnderChurn(t *testing.T) {
	const n = 2500 // all together fit the limit of a machine of 1 GiB
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, n, cttest.Unreplied())
	cttest.Fill(t, ns, n, cttest.Replied())
	cttest.Fill(t, ns, n/2, cttest.Assured())
	replied := func(e *conntrack.Entry) bool { return !unreplied(e) }
	before := ids(list(t, ns, ctnetlink.Query{}), replied)
	f, err := ctnetlink.Probe(t.Context(), ns)
	if err != nil {
		t.Fatal(err)
	}

	var wg sync.WaitGroup
	for _, features := range []ctnetlink.Features{{}, f} {
		wg.Go(func() { // two at once: each finds entries of the other gone
			for range 10 {
				s := ctnetlink.Sweep{NS: ns, Limit: 2 * n, Query: ctnetlink.Query{Features: features, StatusMask: conntrack.StatusSeenReply}}
				swept, err := s.Delete(t.Context(), anyEntry)
				if err != nil || swept.Failed != 0 || swept.Chosen != swept.Done+swept.Gone {
					t.Errorf("%+v, %v", swept, err)
				}
			}
		})
	}
	churn := cttest.Unreplied()
	for range 40 { // the same tuples again and again, as their entries are deleted
		churn.Mark++
		cttest.Refill(t, ns, 500, churn)
	}
	wg.Wait()

	after := ids(list(t, ns, ctnetlink.Query{}), replied)
	if diff := cmp.Diff(before, after, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("replied entries: -before +after\n%s", diff)
	}
	swept, err := ctnetlink.Sweep{NS: ns, Limit: 2 * n}.Delete(t.Context(), unreplied)
	if err != nil {
		t.Fatal(err)
	}
	if left := ids(list(t, ns, ctnetlink.Query{}), unreplied); len(left) != 0 {
		t.Errorf("%d unreplied entries are left after %+v", len(left), swept)
	}
}

func TestSweepLimit(t *testing.T) {
	const n = 1000
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, n, cttest.Unreplied())
	left := uint64(n)
	for _, limit := range []uint64{0, 1, 127, 128, 129} {
		swept, err := ctnetlink.Sweep{NS: ns, Limit: limit}.Delete(t.Context(), anyEntry)
		if err != nil || swept.Done != limit || swept.Chosen != limit || !swept.Limited {
			t.Errorf("limit %d: %+v, %v", limit, swept, err)
		}
		left -= limit
		if got := cttest.Count(t, ns); got != left {
			t.Errorf("limit %d: %d entries are left, want %d", limit, got, left)
		}
	}
}

func TestSweepInOneNamespaceLeavesTheOthers(t *testing.T) {
	ns, other := cttest.NewNS(t), cttest.NewNS(t)
	for _, each := range []*netns.NS{ns, other} {
		cttest.Fill(t, each, 300, cttest.Unreplied())
	}
	swept, err := ctnetlink.Sweep{NS: ns, Limit: 1000}.Delete(t.Context(), anyEntry)
	if err != nil || swept.Done != 300 {
		t.Errorf("%+v, %v", swept, err)
	}
	if got := cttest.Count(t, other); got != 300 {
		t.Errorf("the other namespace has %d entries, want 300", got)
	}
}

func TestSweepCountsGoneEntries(t *testing.T) {
	const n = 1000
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, n, cttest.Unreplied())
	// The first entry that is seen makes room for a second sweep, which
	// deletes all of them before the first sweep does.
	var inner ctnetlink.Swept
	asked := false
	swept, err := ctnetlink.Sweep{NS: ns, Limit: n}.Delete(t.Context(), func(*conntrack.Entry) bool {
		if !asked {
			asked = true
			var err error
			if inner, err = (ctnetlink.Sweep{NS: ns, Limit: n}).Delete(t.Context(), anyEntry); err != nil {
				t.Error(err)
			}
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if inner.Done != n || swept.Done != 0 || swept.Gone == 0 || swept.Gone != swept.Chosen {
		t.Errorf("inner %+v, outer %+v", inner.Change, swept.Change)
	}
}

func TestSweepEndsWithTheContext(t *testing.T) {
	const n = 5000
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, n, cttest.Unreplied())
	ctx, cancel := context.WithCancel(t.Context())
	seen := 0
	swept, err := ctnetlink.Sweep{NS: ns, Limit: n}.Delete(ctx, func(*conntrack.Entry) bool {
		if seen++; seen == 200 {
			cancel()
		}
		return true
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	// What was handed over is finished and counted.
	if swept.Chosen == 0 || swept.Chosen >= n || swept.Done != swept.Chosen {
		t.Errorf("%+v", swept)
	}
	if got := cttest.Count(t, ns); got != n-swept.Done {
		t.Errorf("%d entries are left, %d were deleted of %d", got, swept.Done, n)
	}
	done, err := ctnetlink.Sweep{NS: ns, Limit: n}.Delete(ctx, anyEntry)
	if !errors.Is(err, context.Canceled) || done.Chosen != 0 {
		t.Errorf("with a context that has ended: %+v, %v", done, err)
	}
}

func TestSweepAges(t *testing.T) {
	ns := cttest.NewNS(t)
	soon := cttest.Assured()
	soon.Timeout = 20
	fixed := cttest.Replied()
	fixed.Status |= conntrack.StatusFixedTimeout
	cttest.Create(t, ns, soon, fixed)
	cttest.Fill(t, ns, 300, cttest.TCP(conntrack.StateTimeWait))
	cttest.Fill(t, ns, 50, cttest.TCP(conntrack.StateEstablished))
	before := list(t, ns, ctnetlink.Query{})
	swept, err := ctnetlink.Sweep{NS: ns, Limit: 1000}.Age(t.Context(), func(e *conntrack.Entry) (uint32, bool) {
		return 30, e.State != conntrack.StateEstablished
	})
	if err != nil {
		t.Fatal(err)
	}
	if swept.Done != 300 || swept.Chosen != 300 || swept.Refused != 1 {
		t.Errorf("%+v, want 300 aged and the fixed one refused", swept)
	}
	after := list(t, ns, ctnetlink.Query{})
	short := 0
	for i := range after {
		e := &after[i]
		switch {
		case e.State == conntrack.StateTimeWait && e.Timeout <= 30:
			short++
		case e.Status.Has(conntrack.StatusAssured) && e.Proto == conntrack.ProtoUDP && e.Timeout <= 20:
		case e.Timeout > 3000:
		default:
			t.Errorf("timeout of %v", e)
		}
		e.Timeout = 0
	}
	if short != 300 {
		t.Errorf("%d entries have at most 30 seconds, want 300", short)
	}
	for i := range before {
		before[i].Timeout = 0
	}
	byID := func(a, b conntrack.Entry) int { return int(int64(a.ID) - int64(b.ID)) }
	slices.SortFunc(before, byID)
	slices.SortFunc(after, byID)
	if !slices.Equal(before, after) {
		t.Error("ageing changed more than the timeout")
	}
}

func TestSweepNeverMakesAnEntry(t *testing.T) {
	const n = 500
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, n, cttest.Unreplied())
	asked := false
	swept, err := ctnetlink.Sweep{NS: ns, Limit: n}.Age(t.Context(), func(*conntrack.Entry) (uint32, bool) {
		if !asked {
			asked = true
			if _, err := (ctnetlink.Sweep{NS: ns, Limit: n}).Delete(t.Context(), anyEntry); err != nil {
				t.Error(err)
			}
		}
		return 30, true
	})
	if err != nil || swept.Done != 0 || swept.Gone == 0 {
		t.Errorf("%+v, %v", swept, err)
	}
	if got := cttest.Count(t, ns); got != 0 {
		t.Errorf("%d entries came into being", got)
	}
}

func TestSweepInAClosedNamespace(t *testing.T) {
	ns := cttest.NewNS(t)
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	swept, err := ctnetlink.Sweep{NS: ns, Limit: 1}.Delete(t.Context(), anyEntry)
	if err == nil || swept.Chosen != 0 {
		t.Errorf("%+v, %v", swept, err)
	}
}

func BenchmarkSweepDelete(b *testing.B) {
	for _, n := range []int{200_000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			ns := cttest.NewNS(b)
			cttest.NeedRoom(b, n)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				cttest.Fill(b, ns, n, cttest.Unreplied())
				b.StartTimer()
				s := ctnetlink.Sweep{NS: ns, Limit: uint64(n), Query: ctnetlink.Query{StatusMask: conntrack.StatusSeenReply}}
				swept, err := s.Delete(b.Context(), anyEntry)
				if err != nil || swept.Done != uint64(n) {
					b.Fatalf("%+v, %v", swept, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/entry")
		})
	}
}
