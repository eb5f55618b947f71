package cli

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// whenShown is a time on the page, whose zone is that of whoever ran it.
var whenShown = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(Z|[-+]\d\d:\d\d)`)

// TestHandbookShowsStatusScreen prints the state that the page shows,
// so that whoever is woken sees on the page what is on the screen.
func TestHandbookShowsStatusScreen(t *testing.T) {
	_, shown, _ := strings.Cut(page(t, "../../docs/operations.md"), "\n# ctwarden status\n")
	shown, _, found := strings.Cut(shown, "```")
	if !found {
		t.Fatal("the page shows no status")
	}
	hash, err := record.ParseHash("3b8c2d5a64f5" + strings.Repeat("0", 52))
	if err != nil {
		t.Fatal(err)
	}
	r := standing(policy.High, 195979, 262144, policy.HeldReadOnly)
	r.Version = "dev"
	r.Sources = map[string]status.Source{"kmsg": {Status: watcher.Status{Alive: true, Missed: 130}}}
	r.Unheard = map[string]string{"journald": "no journal: journald does not run: stat /run/systemd/journal/socket: no such file or directory"}
	r.Audit = &status.Audit{Checkpoint: audit.Checkpoint{Seq: 15, Hash: hash}}
	table := &r.Tables[0]
	table.Cause, table.Incident = policy.HalfOpen, "INC-20261121T142734Z"
	table.Ladder = policy.Steps{
		{Type: policy.RaiseMax, Held: policy.HeldReadOnly},
		{Type: policy.ShortenTimeout, Held: policy.HeldAwaiting},
		{Type: policy.DeleteEntries, Held: policy.HeldAwaiting},
	}
	a := &table.Assessment
	a.Observation.Table.Buckets = 262144
	a.FullIn, a.Trend.Fast = 4*time.Second, 15672
	a.Budget = policy.Budget{Max: 1959062, Bytes: 723 << 20, PerEntry: 384}
	for _, c := range []struct {
		sysctl         string
		original, back uint64
	}{{"nf_conntrack_tcp_timeout_syn_sent", 120, 60}, {"nf_conntrack_tcp_timeout_syn_recv", 60, 30}, {"nf_conntrack_udp_timeout", 30, 20}} {
		r.Changed = append(r.Changed, remediate.Row{Sysctl: c.sysctl, Original: c.original, ReadBack: c.back, Reason: policy.ReasonHalfOpen})
	}
	var screen strings.Builder
	if err := printScreen(&screen, r); err != nil {
		t.Fatal(err)
	}
	want, got := whenShown.ReplaceAllString(screen.String(), "TIME"), whenShown.ReplaceAllString(shown, "TIME")
	if diff := cmp.Diff(want, got); diff != "" || strings.Count(got, "TIME") != 1 {
		t.Errorf("docs/operations.md shows another screen than ctwarden status (-status +page):\n%s", diff)
	}
}
