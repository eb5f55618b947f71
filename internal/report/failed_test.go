package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/report"
	"github.com/ctwarden/ctwarden/policy"
)

// TestAnActThatFailedIsNotToldAsDone: neither as done, nor as refused by the
// kernel where it was stopped halfway.
func TestAnActThatFailedIsNotToldAsDone(t *testing.T) {
	i := drill(t).Incident
	raise := policy.Action{Type: policy.RaiseMax, From: 1000, To: 2000}
	shorten := policy.Action{Type: policy.ShortenTimeout, Knob: conntrack.TCPSynSent, From: 120, To: 60}
	remove := policy.Action{Type: policy.DeleteEntries, Class: policy.Unreplied, MinIdle: 10 * time.Second, Cap: 9000}
	i.Decisions = nil
	for n, out := range []policy.Outcome{
		{Action: raise, Error: "read-only file system"},
		{Action: shorten, ChangedExternally: true, Before: 77},
		{Action: remove, Changed: 1795, Error: "context canceled"},
		{Action: remove, Error: "operation not permitted"},
	} {
		i.Decisions = append(i.Decisions, incident.Decision{Seq: uint64(n + 1), Kind: incident.Acted, Action: &out.Action, Outcome: &out})
	}
	i.Counts = incident.Counts{Failed: 4}
	text := strings.Join(strings.Fields(write(t, report.New(i, time.Unix(0, 0)), "txt")), " ")
	for _, want := range []string{
		"ctwarden changed nothing. 4 attempts failed.",
		"Tried to raise the limit nf_conntrack_max from 1,000 to 2,000", "result: Failed: read-only file system",
		"Tried to shorten nf_conntrack_tcp_timeout_syn_sent from 120 s to 60 s", "result: Left alone: another program had set it to 77",
		"Deleted unreplied entries that had been idle for 10 s, at most 9,000 of them", "result: 1,795 deleted, then it failed: context canceled",
		"Tried to delete unreplied entries", "result: Failed: operation not permitted",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

func TestLongNamesBreakBehindAnUnderscore(t *testing.T) {
	if page := write(t, drill(t), "html"); !strings.Contains(page, "nf_<wbr>conntrack_<wbr>tcp_<wbr>timeout_<wbr>syn_<wbr>sent") {
		t.Error("the name of a timeout can't be broken")
	}
}

// TestAReportOfWhatGoesOnDoesNotSayHowItEnded: the log may end within the
// incident, and a person may look meanwhile.
func TestAReportOfWhatGoesOnDoesNotSayHowItEnded(t *testing.T) {
	i := drill(t).Incident
	i.Losses, i.Status = incident.Losses{}, incident.Open
	for _, tt := range []struct {
		tally incident.Counts
		want  string
	}{
		{incident.Counts{Done: 2}, "is filling up; ctwarden makes room, and nothing has been lost so far."},
		{incident.Counts{Done: 1, Restored: 1}, "is filling up; nothing has been lost so far."},
		{incident.Counts{Would: 1}, "is filling up; nothing has been lost so far."},
	} {
		i.Counts = tt.tally
		if r := report.New(i, time.Unix(0, 0)); !strings.HasSuffix(r.Headline, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.tally, r.Headline, tt.want)
		}
	}
	i.Losses.Packets = 3
	if r := report.New(i, time.Unix(0, 0)); !strings.HasSuffix(r.Headline, "was full: 3 packets were lost.") {
		t.Errorf("with losses: %q", r.Headline)
	}
}
