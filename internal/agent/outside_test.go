package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/sandbox"
	"github.com/ctwarden/ctwarden/internal/sandbox/sandboxtest"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// newAgent makes an agent that watches the sandbox, with directories of its own,
// and returns it with a function that runs it until the test calls stop. What
// it changed is put back when the test ends.
func newAgent(t testing.TB, box *sandbox.Sandbox, limits policy.Limits) (a *Agent, start func() (stop func())) {
	t.Helper()
	own, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	a = openAgent(t, Options{
		Own: own, Table: box.NS, KernelLog: watcher.KernelLog{Kmsg: watcher.NewKmsg()},
		Remediate: remediate.Options{
			Dir: dir, Find: func(inode uint32) (*netns.NS, error) {
				if inode != box.NS.Inode() {
					return nil, os.ErrNotExist
				}
				return box.NS, nil
			},
		},
	}, limits)
	return a, func() func() {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); a.Run(ctx) }()
		return func() { cancel(); <-ended }
	}
}

// openAgent makes an agent of the options, with a log of its own. When the test
// ends, what it changed is put back, and the agent and its namespace are closed.
func openAgent(t testing.TB, o Options, limits policy.Limits) *Agent {
	t.Helper()
	log, err := audit.Open(filepath.Join(t.TempDir(), "audit.jsonl"), audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	if o.Config != nil {
		cfg = *o.Config
	}
	cfg.Limits = limits
	o.Config, o.Log, o.Logger = &cfg, log, slog.New(slog.DiscardHandler)
	a, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		outcomes, err := a.kernel.Revert(context.Background(), true)
		for i := range outcomes {
			if !outcomes[i].OK {
				t.Errorf("put back: %s", outcomes[i].Sentence())
			}
		}
		if err := errors.Join(err, a.Close(), log.Close(), o.Own.Close()); err != nil {
			t.Error(err)
		}
	})
	return a
}

// TestRepliedEntriesAreKept lets the loop delete unreplied entries from a
// table in which others are answered all the time, and looks for each of those
// afterwards.
func TestRepliedEntriesAreKept(t *testing.T) {
	box := sandboxtest.New(t)
	limits := policy.Defaults()
	limits.NoHostWide = true
	limits.Verify.Settle = 0
	limits.Delete.MinIdle, limits.Delete.SynSentIdle = time.Second, time.Second
	// A small table plays a full one: the limits make it so.
	limits.Levels.HighEnter, limits.Levels.ElevatedEnter = 1, 1
	limits.Levels.HighLeave, limits.Levels.ElevatedLeave = 1, 1
	a, start := newAgent(t, box, limits)

	flows, err := sandbox.NewLongConns(box.NS, 20)
	if err != nil {
		t.Fatal(err)
	}
	defer flows.Close()
	ctx, calm := context.WithCancel(t.Context())
	talked := make(chan struct{})
	go func() { defer close(talked); flows.Run(ctx, 10*time.Millisecond) }()
	cttest.Fill(t, box.NS, 2000, cttest.Replied())
	flood, err := sandbox.NewFlood(box.NS)
	if err != nil {
		t.Fatal(err)
	}
	defer flood.Close()
	flooded := make(chan error)
	go func() { flooded <- flood.Run(ctx, 1000, 60_000) }()
	before := repliedEntries(t, box.NS)

	var deleted atomic.Uint64
	a.onRecord = func(r audit.Record) {
		payload, _ := r.Payload()
		if out, ok := payload.(*record.Outcome); ok && out.Action.Type == policy.DeleteEntries {
			deleted.Add(out.Changed)
		}
	}
	stop := start()
	for end := time.Now().Add(40 * time.Second); deleted.Load() < 1000 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	calm()
	<-talked
	if err := <-flooded; err != nil {
		t.Error(err)
	}
	after := repliedEntries(t, box.NS)
	for tuple := range before {
		if !after[tuple] {
			t.Errorf("replied entry %v is gone", tuple)
		}
	}
	if alive, of := flows.Alive(); alive != of {
		t.Errorf("%d of %d connections alive", alive, of)
	}
	if deleted.Load() < 1000 {
		t.Errorf("%d entries deleted: nothing was proved; status %s", deleted.Load(), a.Status().Tables[0].HeldText)
	}
	t.Logf("%d unreplied entries deleted, %d replied ones all there", deleted.Load(), len(before))
}

// repliedEntries returns the original tuples of the entries that were answered.
func repliedEntries(t *testing.T, ns *netns.NS) map[conntrack.Tuple]bool {
	t.Helper()
	conn, err := ctnetlink.Dial(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	found := map[conntrack.Tuple]bool{}
	_, err = conn.Dump(t.Context(), ctnetlink.Query{}, func(e *conntrack.Entry, _ *ctnetlink.Key) bool {
		if e.Status&conntrack.StatusSeenReply != 0 {
			found[e.Orig] = true
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestObserveChangesNothing runs the loop on a table that is full as far as it
// knows, in observe mode.
func TestObserveChangesNothing(t *testing.T) {
	box := sandboxtest.New(t)
	own, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	before, err := sandbox.ReadValues(own, box.NS)
	if err != nil {
		t.Fatal(err)
	}
	limits := policy.Defaults()
	limits.Mode = policy.Observe
	limits.Levels.HighEnter, limits.Levels.HighLeave, limits.Levels.ElevatedEnter, limits.Levels.ElevatedLeave = 1, 1, 1, 1
	a, start := newAgent(t, box, limits)
	var would atomic.Int64
	a.onRecord = func(r audit.Record) {
		if r.Kind == record.KindOutcome && bytes.Contains(r.Line(), []byte(`"would":true`)) {
			would.Add(1)
		}
	}
	cttest.Fill(t, box.NS, 3000, cttest.Unreplied())
	count := cttest.Count(t, box.NS)
	stop := start()
	for end := time.Now().Add(20 * time.Second); would.Load() == 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if would.Load() == 0 {
		t.Error("nothing was records")
	}
	after, err := sandbox.ReadValues(own, box.NS)
	if err != nil {
		t.Fatal(err)
	}
	if differ := before.Differences(after); len(differ) > 0 {
		t.Errorf("observe mode changed %v", differ)
	}
	if got := cttest.Count(t, box.NS); got != count {
		t.Errorf("%d entries, want all %d", got, count)
	}
}
