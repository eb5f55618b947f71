package ctnetlink_test

import (
	"testing"

	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/nfct"
)

func BenchmarkSweepDelete(b *testing.B) {
	const n = 200_000
	ns := cttest.NewNS(b)
	cttest.NeedRoom(b, n)
	for b.Loop() {
		b.StopTimer()
		cttest.Fill(b, ns, n, cttest.Unreplied())
		b.StartTimer()
		s := ctnetlink.Sweep{NS: ns, Limit: n, Query: ctnetlink.Query{StatusMask: nfct.StatusSeenReply}}
		swept, err := s.Delete(b.Context(), func(*nfct.Entry) bool { return true })
		if err != nil || swept.Done != n {
			b.Fatalf("%+v, %v", swept, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/entry")
}
