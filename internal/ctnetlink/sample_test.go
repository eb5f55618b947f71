package ctnetlink_test

import (
	"math"
	"testing"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
)

// TestThePrefixOfADumpIsUnbiased samples many real tables, in which entries of
// one kind were all made before those of the other, and wants the mean of the
// shares to be the true one.
func TestThePrefixOfADumpIsUnbiased(t *testing.T) {
	const kind, others, seen = 900, 2100, 500
	tables := 60
	if testing.Short() {
		tables = 20
	}
	const truth = float64(kind) / (kind + others)
	var mean, square, claimed float64
	for range tables {
		ns := cttest.NewNS(t)
		cttest.Fill(t, ns, kind, cttest.TCP(conntrack.StateTimeWait))
		cttest.Fill(t, ns, others, cttest.Unreplied())
		var count census.Count
		d, err := dial(t, ns).Dump(t.Context(), ctnetlink.Query{}, func(e *conntrack.Entry, _ *ctnetlink.Key) bool {
			count.Add(e)
			return count.Summary.Seen < seen
		})
		if err != nil || d.Entries != seen || d.Stop != ctnetlink.ByCaller {
			t.Fatalf("%+v, %v", d, err)
		}
		count.Summary.Sampled = true
		off := float64(count.Summary.TimeWait)/seen - truth
		mean += off / float64(tables)
		square += off * off / float64(tables)
		claimed += count.Summary.StandardError(count.Summary.TimeWait, kind+others) / float64(tables)
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d tables: mean error %+.4f, standard deviation %.4f, claimed %.4f", tables, mean, math.Sqrt(square), claimed)
	// Five standard errors: once in two million runs by chance.
	if limit := 5 * claimed / math.Sqrt(float64(tables)); math.Abs(mean) > limit {
		t.Errorf("the share is off by %+.4f on average, more than %.4f", mean, limit)
	}
	// The deviation of so few tables is itself known to a few tenths.
	if ratio := math.Sqrt(square) / claimed; ratio < 0.4 || ratio > 1.8 {
		t.Errorf("the shares vary %.2f times as much as claimed", ratio)
	}
}
