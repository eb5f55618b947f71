package remediate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
)

// changed is a kernel on which everything was changed.
func changed(tb testing.TB) (fakeProc, *Kernel) {
	tb.Helper()
	proc := newProc(tb)
	k := openAt(tb, proc.root, stateDir(tb))
	must(tb, k, resize(512, 1024))
	must(tb, k, raise(1000, 2000))
	must(tb, k, shorten(conntrack.UDP, 120, 60))
	must(tb, k, shorten(conntrack.TCPTimeWait, 120, 30))
	return proc, k
}

func TestRevertGoesInOrder(t *testing.T) {
	proc, k := changed(t)
	var wrote []string
	k.sysctls.fault = func(step string) error {
		if name, ok := strings.CutPrefix(step, "wrote "); ok {
			wrote = append(wrote, name)
		}
		return nil
	}
	outcomes, err := k.Revert(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "order", []string{
		conntrack.UDP.Sysctl(), "nf_conntrack_tcp_timeout_time_wait", conntrack.SysctlMax, conntrack.SysctlBuckets,
	}, wrote)
	want := []policy.Outcome{
		{
			Action: policy.Action{Type: policy.RestoreTimeout, Knob: conntrack.UDP, From: 60, To: 120, Reason: policy.ReasonRequested},
			OK:     true, Before: 60, After: 120,
		},
		{
			Action: policy.Action{Type: policy.RestoreTimeout, Knob: conntrack.TCPTimeWait, From: 30, To: 120, Reason: policy.ReasonRequested},
			OK:     true, Before: 30, After: 120,
		},
		{
			Action: policy.Action{Type: policy.RestoreMax, From: 2000, To: 1000, Reason: policy.ReasonRequested},
			OK:     true, Before: 2000, After: 1000,
		},
		{
			Action: policy.Action{Type: policy.ResizeHash, From: 1024, To: 512, Reason: policy.ReasonRequested},
			OK:     true, Before: 1024, After: 512,
		},
	}
	wantDiff(t, "outcomes", want, outcomes)
	for name, v := range map[string]uint64{conntrack.SysctlMax: 1000, conntrack.SysctlBuckets: 512, conntrack.UDP.Sysctl(): 120, conntrack.TCPTimeWait.Sysctl(): 120} {
		wantValue(t, proc, name, v)
	}
}

func TestRevertHoldsBackWhatWouldHurt(t *testing.T) {
	const vast = 1<<64 - 1
	tests := map[string]struct {
		count   uint64
		others  Others
		force   bool
		max     uint64
		buckets uint64
		noted   int
	}{
		"a nearly empty table":                         {10, Others{}, false, 1000, 512, 0},
		"just below 90 %":                              {899, Others{}, false, 1000, 512, 0},
		"90 % of the original":                         {900, Others{}, false, 2000, 512, 0},
		"more than the original":                       {1500, Others{}, false, 2000, 512, 0},
		"more than the original, forced":               {1500, Others{}, true, 1000, 512, 1},
		"90 %, forced":                                 {900, Others{}, true, 1000, 512, 0},
		"another namespace at 90 % of the original":    {10, Others{Fullest: 900, All: 900}, false, 2000, 512, 0},
		"another namespace above the original, forced": {10, Others{Fullest: 1500, All: 1500}, true, 1000, 512, 1},
		"many others, none of them full":               {10, Others{Fullest: 899, All: 8000}, false, 1000, 512, 0},
		"a stall by others' entries":                   {10, Others{Fullest: 500, All: 1_000_000}, false, 1000, 1024, 0},
		"that stall, forced":                           {10, Others{Fullest: 500, All: 1_000_000}, true, 1000, 512, 1},
		"a stall by the own entries":                   {1_000_000, Others{Fullest: 5, All: 5}, false, 2000, 1024, 0},
		"a stall by the own and the others' together":  {400, Others{Fullest: 5, All: 331_000}, false, 1000, 1024, 0},
		"entries beyond any count":                     {10, Others{Fullest: 500, All: vast}, false, 1000, 1024, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			proc, k := changed(t)
			proc.set(conntrack.SysctlCount, tt.count)
			k.options.Others = func() (Others, error) { return tt.others, nil }
			outcomes, err := k.Revert(t.Context(), tt.force)
			if err != nil || len(outcomes) != 4 {
				t.Fatalf("outcomes %+v, %v", outcomes, err)
			}
			wantValue(t, proc, conntrack.UDP.Sysctl(), 120)
			wantValue(t, proc, conntrack.SysctlMax, tt.max)
			wantValue(t, proc, conntrack.SysctlBuckets, tt.buckets)
			noted := 0
			for _, out := range outcomes {
				if out.Note != "" {
					noted++
				}
				if out.OK != (out.After == out.Action.To) || out.OK == strings.Contains(out.Error, ErrHeldBack.Error()) {
					t.Errorf("outcome %+v", out)
				}
			}
			if noted != tt.noted {
				t.Errorf("%d notes in %+v, want %d", noted, outcomes, tt.noted)
			}
			// What was held back is put back later.
			proc.set(conntrack.SysctlCount, 0)
			k.options.Others = nil
			if _, err := k.Revert(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			wantValue(t, proc, conntrack.SysctlMax, 1000)
			wantValue(t, proc, conntrack.SysctlBuckets, 512)
		})
	}
}

// TestRaisingMaxIsNotHeldBack: only a max that goes down can hurt.
func TestRaisingMaxIsNotHeldBack(t *testing.T) {
	proc := newProc(t)
	k := openAt(t, proc.root, stateDir(t))
	must(t, k, policy.Action{Type: policy.RestoreMax, From: 1000, To: 960, Reason: policy.ReasonRequested})
	proc.set(conntrack.SysctlCount, 950)
	outcomes, err := k.Revert(t.Context(), false)
	if err != nil || len(outcomes) != 1 || !outcomes[0].OK {
		t.Errorf("outcomes %+v, %v", outcomes, err)
	}
	wantValue(t, proc, conntrack.SysctlMax, 1000)
}

func TestRevertLeavesForeignValuesAlone(t *testing.T) {
	proc, k := changed(t)
	proc.set(conntrack.UDP.Sysctl(), 45)
	proc.set(conntrack.SysctlMax, 1000)
	outcomes, err := k.Revert(t.Context(), false)
	if err != nil || len(outcomes) != 4 {
		t.Fatalf("outcomes %+v, %v", outcomes, err)
	}
	if out := outcomes[0]; !out.ChangedExternally || out.OK || out.Before != 45 || out.After != 45 {
		t.Errorf("the foreign one: %+v", out)
	}
	if out := outcomes[2]; !out.OK || out.Note == "" {
		t.Errorf("the one that is back already: %+v", out)
	}
	wantValue(t, proc, conntrack.UDP.Sysctl(), 45)
	wantValue(t, proc, conntrack.SysctlBuckets, 512)
	l := k.Ledger()
	if len(l.Entries) != 0 || len(l.History) != 1 {
		t.Errorf("ledger %+v", l)
	}
}

// TestRevertWhenAStepFails: what failed stays in the ledger, and the rest is
// put back.
func TestRevertWhenAStepFails(t *testing.T) {
	udp := conntrack.UDP.Sysctl()
	for name, tt := range map[string]struct {
		step string
		err  error
		left int // claims that are left
		ok   bool
	}{
		"a value can't be read":           {"read " + udp, unix.EIO, 1, false},
		"a value can't be written":        {"write " + udp, unix.EROFS, 1, false},
		"the ledger can't be written":     {"ledger write", unix.ENOSPC, 4, true},
		"the write reports an error late": {"wrote " + udp, unix.EIO, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			proc, k := changed(t)
			fault := func(step string) error {
				if step == tt.step {
					return tt.err
				}
				return nil
			}
			k.sysctls.fault, k.store.fault = fault, fault
			outcomes, err := k.Revert(t.Context(), false)
			if err != nil || len(outcomes) != 4 || outcomes[0].OK != tt.ok {
				t.Errorf("outcomes %+v, %v", outcomes, err)
			}
			wantValue(t, proc, conntrack.SysctlMax, 1000)
			wantValue(t, proc, conntrack.SysctlBuckets, 512)
			if l := k.Ledger(); len(l.Entries) != tt.left {
				t.Errorf("ledger %+v", l)
			}
			k.sysctls.fault, k.store.fault = nil, nil
			if _, err := k.Revert(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			wantValue(t, proc, udp, 120)
			if l := k.Ledger(); len(l.Entries)+len(l.History) != 0 {
				t.Errorf("ledger %+v", l)
			}
		})
	}
}

func TestRevertWhenTheKernelIgnoresIt(t *testing.T) {
	proc, k := changed(t)
	k.sysctls.fault = func(step string) error {
		if step == "wrote "+conntrack.SysctlMax {
			proc.set(conntrack.SysctlMax, 2000)
		}
		return nil
	}
	outcomes, err := k.Revert(t.Context(), false)
	if err != nil || outcomes[2].OK || !strings.Contains(outcomes[2].Error, ErrReadBack.Error()) {
		t.Errorf("outcomes %+v, %v", outcomes, err)
	}
	if l := k.Ledger(); len(l.Entries) != 1 {
		t.Errorf("ledger %+v", l)
	}
}

func TestRevertStopsWithItsContext(t *testing.T) {
	_, k := changed(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	outcomes, err := k.Revert(ctx, true)
	if !errors.Is(err, context.Canceled) || outcomes != nil {
		t.Errorf("outcomes %+v, %v", outcomes, err)
	}
}

func TestRevertCommands(t *testing.T) {
	proc, k := changed(t)
	want := []string{
		"sysctl -w net.netfilter.nf_conntrack_udp_timeout=120",
		"sysctl -w net.netfilter.nf_conntrack_tcp_timeout_time_wait=120",
		"sysctl -w net.netfilter.nf_conntrack_max=1000",
		"sysctl -w net.netfilter.nf_conntrack_buckets=512",
	}
	wantDiff(t, "commands", want, k.RevertCommands())
	wantValue(t, proc, conntrack.SysctlMax, 2000)
	// The same without the lock, while the daemon holds it.
	commands, err := RevertCommands(Options{Proc: proc.root, Dir: k.options.Dir})
	if err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "commands without the lock", want, commands)
	ledger, err := ReadLedger(Options{Proc: proc.root, Dir: k.options.Dir})
	if err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "ledger without the lock", k.Ledger(), ledger)
	proc.boot("another")
	if ledger, err = ReadLedger(Options{Proc: proc.root, Dir: k.options.Dir}); err != nil || len(ledger.Entries) != 0 {
		t.Errorf("after a reboot: %+v, %v", ledger, err)
	}
	proc.boot(thisBoot)

	proc.set(conntrack.UDP.Sysctl(), 45)
	proc.set(conntrack.SysctlMax, 1000)
	commands = k.RevertCommands()
	if len(commands) != 3 || !strings.HasPrefix(commands[0], "# ") || commands[1] != want[1] || commands[2] != want[3] {
		t.Errorf("commands %q", commands)
	}
}

// TestARevertThatCanNotLookSaysSo, and leaves the ledger as it is: before the
// write as well as after it.
func TestARevertThatCanNotLookSaysSo(t *testing.T) {
	name := conntrack.UDP.Sysctl()
	for blind, value := range map[int]uint64{1: 60, 2: 120} {
		proc, k := changed(t)
		looks := 0
		k.sysctls.fault = func(step string) error {
			if step == "read "+name {
				if looks++; looks == blind {
					return unix.EIO
				}
			}
			return nil
		}
		outcomes, err := k.Revert(t.Context(), true)
		if err != nil || len(outcomes) != 4 {
			t.Fatalf("outcomes %+v, %v", outcomes, err)
		}
		for i := range outcomes {
			if out := &outcomes[i]; (out.Error != "") != (out.Action.Knob == conntrack.UDP) || out.OK != (out.Error == "") {
				t.Errorf("blind at look %d: %+v", blind, out)
			}
		}
		wantValue(t, proc, name, value)
		if left := k.Ledger().Entries; len(left) != 1 || left[0].Sysctl != name {
			t.Errorf("ledger %+v", left)
		}
	}
}

// TestARevertGoesByTheLimitsOfTheReload, not by those of the start.
func TestARevertGoesByTheLimitsOfTheReload(t *testing.T) {
	proc, k := changed(t)
	proc.set(conntrack.SysctlCount, 200_000) // 60 ms
	proc.set(conntrack.SysctlMax, 1_000_000) // somebody else's
	for _, step := range []struct {
		most time.Duration
		want uint64
	}{{50 * time.Millisecond, 1024}, {100 * time.Millisecond, 512}} {
		limits := policy.Defaults().Hash
		limits.MaxStall = step.most
		k.SetHash(limits)
		if _, err := k.Revert(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		wantValue(t, proc, conntrack.SysctlBuckets, step.want)
	}
}

// TestACommandIsOneLine: the name of a namespace's file is up to whoever made
// it, and comes with errors.
func TestACommandIsOneLine(t *testing.T) {
	proc, dir := newProc(t), stateDir(t)
	e := Row{Sysctl: conntrack.UDP.Sysctl(), NetNS: 77, Original: 30, Before: 30, Written: 20, ReadBack: 20, Boot: thisBoot}
	if err := (store{dir: dir}).save(Ledger{Entries: []Row{e}}); err != nil {
		t.Fatal(err)
	}
	k := openAt(t, proc.root, dir)
	k.options.Find = func(uint32) (*netns.NS, error) { return nil, errors.New("open a\nreboot\x1b[2J") }
	for _, c := range k.RevertCommands() {
		if !strings.HasPrefix(c, "# ") || strings.ContainsAny(c, "\n\x1b") || !strings.HasSuffix(c, "nf_conntrack_udp_timeout=30") {
			t.Errorf("command %q", c)
		}
	}
}
