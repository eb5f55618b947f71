package agent

import (
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/sandbox/sandboxtest"
	"github.com/ctwarden/ctwarden/policy"
)

// TestRevertRequestRestoresValue changes one timeout of a namespace
// as the daemon would, and asks for it back.
func TestRevertRequestRestoresValue(t *testing.T) {
	stage := sandboxtest.New(t)
	limits := policy.Defaults()
	limits.NoHostWide = true
	a, start := newAgent(t, stage, limits)
	var kinds []record.Kind
	a.onRecord = func(r audit.Record) { kinds = append(kinds, r.Kind) }
	d := &Server{logger: a.logger, agent: a}
	now, err := a.sampler.Observe() // before the loop does: a Sampler is for one goroutine
	if err != nil {
		t.Fatal(err)
	}
	from := uint64(now.Timeouts[conntrack.UDP])
	stop := sync.OnceFunc(start())
	defer stop()
	out := a.kernel.Apply(t.Context(), "INC-1", policy.Action{
		Type: policy.ShortenTimeout, NetNS: stage.NS.Inode(), Knob: conntrack.UDP, From: from, To: from - 1,
	})
	if !out.OK {
		t.Fatal(out.Sentence())
	}
	by := control.Peer{UID: uint32(os.Getuid()), PID: 1}
	said, err := d.revert(t.Context(), by, control.Request{For: time.Hour, Reason: "drill"})
	if err != nil {
		t.Fatal(err)
	}
	answer := said.(Reverted)
	if len(answer.Outcomes) != 1 || !answer.Outcomes[0].OK || answer.Outcomes[0].After != from {
		t.Errorf("outcomes %+v", answer.Outcomes)
	}
	if left := a.kernel.Ledger().Entries; len(left) > 0 {
		t.Errorf("the ledger still has %v", left)
	}
	stop()
	// A turn in between says that it holds, which is not what this is about.
	kinds = slices.DeleteFunc(kinds[max(slices.Index(kinds, record.KindPause), 0):], func(k record.Kind) bool { return k == record.KindHold })
	if diff := cmp.Diff([]record.Kind{record.KindPause, record.KindRevert, record.KindOutcome}, kinds); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}
