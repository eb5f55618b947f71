package remediate

import (
	"errors"
	"os"
	"testing"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// TestReconcile starts ctwarden on a ledger and a kernel that somebody made.
func TestReconcile(t *testing.T) {
	const gone = 77 // no namespace has such a number
	base := Row{
		Sysctl: conntrack.SysctlMax, Original: 1000, Before: 1000, Written: 2000, ReadBack: 2000, Boot: thisBoot,
	}
	with := func(change func(*Row)) Row {
		e := base
		change(&e)
		return e
	}
	interrupted := with(func(e *Row) { e.ReadBack = 0 })
	again := with(func(e *Row) { e.Before, e.Written, e.ReadBack = 2000, 3000, 0 })
	buckets := with(func(e *Row) {
		e.Sysctl, e.Original, e.Before, e.Written, e.ReadBack = conntrack.SysctlBuckets, 512, 512, 1000, 0
	})
	tests := map[string]struct {
		entry  Row
		value  uint64
		find   func(uint32) (*netns.NS, error)
		before func(fakeProc)
		want   record.NoteKind
		claim  policy.Knob // on max or buckets
		kept   bool        // in the ledger
		voided bool
	}{
		"still ours":                                 {base, 2000, nil, nil, record.NoteKept, policy.Knob{Original: 1000, Written: 2000}, true, false},
		"put back by somebody":                       {base, 1000, nil, nil, record.NoteReturned, policy.Knob{}, false, false},
		"raised further by somebody":                 {base, 2500, nil, nil, record.NoteForeign, policy.Knob{}, false, true},
		"what was asked for is not what was made":    {with(func(e *Row) { e.ReadBack = 2048 }), 2000, nil, nil, record.NoteForeign, policy.Knob{}, false, true},
		"the first write was interrupted before":     {interrupted, 1000, nil, nil, record.NoteReturned, policy.Knob{}, false, false},
		"the first write was interrupted after":      {interrupted, 2000, nil, nil, record.NoteKept, policy.Knob{Original: 1000, Written: 2000}, true, false},
		"a later write was interrupted before":       {again, 2000, nil, nil, record.NoteKept, policy.Knob{Original: 1000, Written: 2000}, true, false},
		"a later write was interrupted after":        {again, 3000, nil, nil, record.NoteKept, policy.Knob{Original: 1000, Written: 3000}, true, false},
		"a later write was interrupted, then undone": {again, 1000, nil, nil, record.NoteReturned, policy.Knob{}, false, false},
		"an interrupted resize that was rounded":     {buckets, 1024, nil, nil, record.NoteKept, policy.Knob{Original: 512, Written: 1024}, true, false},
		"another boot": {
			with(func(e *Row) { e.Boot = "another" }), 2000, nil, nil, record.NoteRebooted, policy.Knob{}, false, true,
		},
		"the namespace is gone": {
			with(func(e *Row) { e.Sysctl, e.NetNS = conntrack.UDP.Sysctl(), gone }), 0,
			func(uint32) (*netns.NS, error) { return nil, os.ErrNotExist }, nil, record.NoteNamespaceGone, policy.Knob{}, false, true,
		},
		"the namespace can't be entered": {
			with(func(e *Row) { e.Sysctl, e.NetNS = conntrack.UDP.Sysctl(), gone }), 0,
			func(uint32) (*netns.NS, error) { return nil, os.ErrPermission }, nil, record.NoteUnknown, policy.Knob{}, true, false,
		},
		"the namespace can't be entered, and ended with the drill that was killed": {
			with(func(e *Row) { e.Sysctl, e.NetNS, e.Ephemeral = conntrack.UDP.Sysctl(), gone, true }), 0,
			func(uint32) (*netns.NS, error) { return nil, os.ErrPermission }, nil, record.NoteNamespaceGone, policy.Knob{}, false, true,
		},
		"nobody can find namespaces": {
			with(func(e *Row) { e.Sysctl, e.NetNS = conntrack.UDP.Sysctl(), gone }), 0, nil, nil, record.NoteUnknown, policy.Knob{}, true, false,
		},
		"the module was unloaded": {
			base, 2000, nil, func(p fakeProc) {
				if err := os.RemoveAll(p.path("")); err != nil {
					p.tb.Fatal(err)
				}
			}, record.NoteModuleGone, policy.Knob{}, false, true,
		},
		"a sandbox hides proc/sys": {
			base, 2000, nil, func(p fakeProc) {
				if err := os.RemoveAll(p.root + "/sys/net"); err != nil {
					p.tb.Fatal(err)
				}
			}, record.NoteUnknown, policy.Knob{}, true, false,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			proc, dir := newProc(t), stateDir(t)
			if err := (store{dir: dir}).save(Ledger{Entries: []Row{tt.entry}}); err != nil {
				t.Fatal(err)
			}
			if hostWide(tt.entry.Sysctl) {
				proc.set(tt.entry.Sysctl, tt.value)
			}
			if tt.before != nil {
				tt.before(proc)
			}
			k := openAt(t, proc.root, dir)
			k.options.Find = tt.find
			claims, err := k.Reconcile(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(claims.Notes) != 1 || claims.Notes[0].Kind != tt.want {
				t.Fatalf("notes %+v, want %s", claims.Notes, tt.want)
			}
			claimed := claims.Max
			if tt.entry.Sysctl == conntrack.SysctlBuckets {
				claimed = claims.Buckets
			}
			wantDiff(t, "claim", tt.claim, claimed)
			stored, err := store{dir: dir}.read()
			if err != nil {
				t.Fatal(err)
			}
			if (len(stored.Entries) == 1) != tt.kept || (len(stored.History) == 1) != tt.voided {
				t.Errorf("ledger %+v", stored)
			}
			again, err := k.Reconcile(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if (len(again.Notes) == 1) != tt.kept {
				t.Errorf("the second time: %+v", again.Notes)
			}
		})
	}
}

func TestSeedKeepsWhatTheStateRemembersOfYielding(t *testing.T) {
	c := Claims{
		Max:      policy.Knob{Original: 1, Written: 2},
		Timeouts: map[uint32]policy.Knobs{7: {conntrack.UDP: {Original: 30, Written: 20}}},
	}
	s := policy.State{Max: policy.Knob{Original: 9, Written: 9, YieldPause: 3}, Buckets: policy.Knob{Written: 5, YieldUntil: 4}}
	c.Seed(&s, 7)
	var want policy.State
	want.Max = policy.Knob{Original: 1, Written: 2, YieldPause: 3}
	want.Buckets = policy.Knob{YieldUntil: 4}
	want.Timeouts[conntrack.UDP] = policy.Knob{Original: 30, Written: 20}
	wantDiff(t, "state", want, s)
}

// TestAFreshStartWritesNothing: no ledger is made where none is needed.
func TestAFreshStartWritesNothing(t *testing.T) {
	proc, dir := newProc(t), stateDir(t)
	k := openAt(t, proc.root, dir)
	claims, err := k.Reconcile(t.Context())
	if err != nil || len(claims.Notes) != 0 {
		t.Errorf("claims %+v, %v", claims, err)
	}
	if outcomes, err := k.Revert(t.Context(), true); err != nil || outcomes != nil {
		t.Errorf("reverted %+v, %v", outcomes, err)
	}
	if _, err := os.Stat(k.store.path(ledgerName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a ledger was written: %v", err)
	}
}

// TestALedgerOfAnotherBootIsNotMixedIn: an action before Reconcile does not
// take over what another boot left.
func TestALedgerOfAnotherBootIsNotMixedIn(t *testing.T) {
	proc, dir := newProc(t), stateDir(t)
	old := Row{Sysctl: conntrack.SysctlMax, Original: 500, Before: 500, Written: 1000, ReadBack: 1000, Boot: "another"}
	if err := (store{dir: dir}).save(Ledger{Entries: []Row{old}}); err != nil {
		t.Fatal(err)
	}
	k := openAt(t, proc.root, dir)
	must(t, k, raise(1000, 2000))
	if _, err := k.Revert(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	wantValue(t, proc, conntrack.SysctlMax, 1000)
	h := k.Ledger().History
	if len(h) != 1 || h[0].Why != record.NoteRebooted {
		t.Errorf("history %+v", h)
	}
}

// TestAValueChangedWhileCtwardenWasDownIsYieldedTo stops ctwarden, lowers what
// it had raised, and starts it again in a table that is full.
func TestAValueChangedWhileCtwardenWasDownIsYieldedTo(t *testing.T) {
	const inode = 77
	entries := []Row{
		{Sysctl: conntrack.SysctlMax, Original: 1000, Before: 1000, Written: 2000, ReadBack: 2000, Boot: thisBoot},
		{Sysctl: conntrack.SysctlBuckets, Original: 512, Before: 512, Written: 1000, ReadBack: 1024, Boot: thisBoot},
	}
	proc, dir := newProc(t), stateDir(t)
	proc.set(conntrack.SysctlMax, 1500)
	proc.set(conntrack.SysctlBuckets, 4096)
	if err := (store{dir: dir}).save(Ledger{Entries: entries}); err != nil {
		t.Fatal(err)
	}
	claims, err := openAt(t, proc.root, dir).Reconcile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if claims.Max.Written != 0 || claims.Buckets.Written != 0 {
		t.Errorf("claims on what is somebody else's: %+v", claims)
	}
	claims.Notes = append(claims.Notes, record.Note{Kind: record.NoteForeign, Sysctl: conntrack.UDP.Sysctl(), NetNS: inode, Original: 30, Written: 20, Found: 25})
	for _, netns := range []uint32{0, inode} {
		limits, state := policy.Defaults(), policy.State{}
		claims.Seed(&state, netns)
		o := policy.Observation{
			Now: 1 << 40, Timeouts: conntrack.Timeouts{conntrack.UDP: 25}, Full: 1,
			Table:  conntrack.Table{NetNS: netns, Entries: 1499, Max: 1500, Buckets: 4096},
			Memory: policy.Memory{Total: 8 << 30, Available: 8 << 30, EntryBytes: 256},
			Kernel: policy.Kernel{MaxWritable: true, BucketsWritable: true, TimeoutsWritable: true},
		}
		a := limits.Assess(&state, &o)
		plan := limits.Decide(&state, &a)
		want := []policy.Override{
			{Type: policy.RaiseMax, Wrote: 2000, Found: 1500, Original: 1000, Change: policy.ExternallyChanged, Yield: limits.Backoff.Pause},
			{Type: policy.ResizeHash, Wrote: 1000, Found: 4096, Original: 512, Change: policy.ExternallyRaised},
		}
		if netns == inode {
			want = append(want, policy.Override{
				Type: policy.ShortenTimeout, Knob: conntrack.UDP, Wrote: 20, Found: 25, Original: 30,
				Change: policy.ExternallyChanged, Yield: limits.Backoff.Pause,
			})
		}
		wantDiff(t, "overrides", want, plan.Overrides)
		state = state.Next(&limits, &plan, nil)
		o.Now = o.Now.Add(limits.Backoff.Pause / 2)
		a = limits.Assess(&state, &o)
		if plan = limits.Decide(&state, &a); plan.Acts() && plan.Actions[0].Type == policy.RaiseMax {
			t.Errorf("netns %d: max is raised over somebody else's head: %+v", netns, plan.Actions)
		}
	}
}
