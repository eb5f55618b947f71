package remediate

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// TestApplyWhenAStepFails is the failure table: at each step of a raise
// something goes wrong, and the kernel, the ledger and the outcome agree.
func TestApplyWhenAStepFails(t *testing.T) {
	const from, to = 1000, 2000
	fail := func(step string, err error) func(*Kernel, fakeProc) func(string) error {
		return func(*Kernel, fakeProc) func(string) error {
			return func(at string) error {
				if at == step {
					return err
				}
				return nil
			}
		}
	}
	// second fails at the second time a step is reached.
	second := func(step string, err error) func(*Kernel, fakeProc) func(string) error {
		return func(*Kernel, fakeProc) func(string) error {
			n := 0
			return func(at string) error {
				if at == step {
					if n++; n == 2 {
						return err
					}
				}
				return nil
			}
		}
	}
	// turn sets max to another value right after the write.
	turn := func(v uint64) func(*Kernel, fakeProc) func(string) error {
		return func(_ *Kernel, p fakeProc) func(string) error {
			return func(at string) error {
				if at == "wrote "+conntrack.SysctlMax {
					p.set(conntrack.SysctlMax, v)
				}
				return nil
			}
		}
	}
	tests := map[string]struct {
		fault  func(*Kernel, fakeProc) func(string) error
		want   error
		ok     bool
		note   bool
		value  uint64
		claims []string // of the ledger on disk: what Reconcile says of each
		voided int
	}{
		"nothing goes wrong": {
			fail("never", nil), nil, true, false, to, []string{"kept"}, 0,
		},
		"the module is gone before the first read": {
			fail("read "+conntrack.SysctlMax, unix.ENOENT), ErrNoConntrack, false, false, from, nil, 0,
		},
		"the value can't be read": {
			fail("read "+conntrack.SysctlMax, unix.EIO), unix.EIO, false, false, from, nil, 0,
		},
		"the ledger can't be made": {
			fail("ledger create", unix.EROFS), unix.EROFS, false, false, from, nil, 0,
		},
		"the disk is full": {
			fail("ledger write", unix.ENOSPC), unix.ENOSPC, false, false, from, nil, 0,
		},
		"the disk fails when asked to keep it": {
			fail("ledger sync", unix.EIO), unix.EIO, false, false, from, nil, 0,
		},
		"the ledger can't be replaced": {
			fail("ledger rename", unix.EIO), unix.EIO, false, false, from, nil, 0,
		},
		"the directory is not known to be kept": {
			fail("ledger sync directory", unix.EIO), unix.EIO, false, false, from, []string{"returned"}, 0,
		},
		"proc/sys is read-only": {
			fail("write "+conntrack.SysctlMax, unix.EROFS), ErrReadOnly, false, false, from, nil, 0,
		},
		"no privilege": {
			fail("write "+conntrack.SysctlMax, unix.EPERM), ErrNotPermitted, false, false, from, nil, 0,
		},
		"the file can't be opened for writing": {
			fail("write "+conntrack.SysctlMax, unix.EACCES), os.ErrPermission, false, false, from, nil, 0,
		},
		"the module goes between read and write": {
			fail("write "+conntrack.SysctlMax, unix.ENOENT), ErrNoConntrack, false, false, from, nil, 0,
		},
		"the kernel has no memory": {
			fail("write "+conntrack.SysctlMax, unix.ENOMEM), ErrNoMemory, false, false, from, nil, 0,
		},
		"the kernel refuses the value": {
			fail("write "+conntrack.SysctlMax, unix.EINVAL), ErrInvalid, false, false, from, nil, 0,
		},
		"the write happened although it reports an error": {
			fail("wrote "+conntrack.SysctlMax, unix.EIO), unix.EIO, false, false, to, []string{"kept"}, 0,
		},
		"it can't be read back": {
			second("read "+conntrack.SysctlMax, unix.EIO), unix.EIO, false, false, to, []string{"kept"}, 0,
		},
		"the kernel ignores the write": {
			turn(from), ErrReadBack, false, false, from, nil, 0,
		},
		"somebody else writes at the same time": {
			turn(1500), ErrReadBack, false, false, 1500, nil, 1,
		},
		"the disk is full after the write": {
			second("ledger write", unix.ENOSPC), nil, true, true, to, []string{"kept"}, 0,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			proc, dir := newProc(t), stateDir(t)
			k := openAt(t, proc.root, dir)
			fault := tt.fault(k, proc)
			k.sysctls.fault, k.store.fault = fault, fault
			out := policy.Outcome{Action: raise(from, to)}
			err := k.apply(t.Context(), "i1", &out)
			if !errors.Is(err, tt.want) || (err != nil) != (tt.want != nil) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if out.OK != tt.ok || (out.Note != "") != tt.note {
				t.Errorf("outcome %+v, want OK %t, a note %t", out, tt.ok, tt.note)
			}
			wantValue(t, proc, conntrack.SysctlMax, tt.value)
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}

			k = openAt(t, proc.root, dir)
			claims, err := k.Reconcile(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, n := range claims.Notes {
				kinds = append(kinds, n.Kind.String())
			}
			wantDiff(t, "claims", tt.claims, kinds)
			if n := len(k.Ledger().History); n != tt.voided {
				t.Errorf("%d claims voided, want %d", n, tt.voided)
			}
			if _, err := k.Revert(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if tt.voided == 0 {
				wantValue(t, proc, conntrack.SysctlMax, from)
			} else {
				wantValue(t, proc, conntrack.SysctlMax, tt.value)
			}
		})
	}
}

func TestApplyRefuses(t *testing.T) {
	tests := map[string]policy.Action{
		"an action of no type":             {},
		"a raise that lowers":              raise(1000, 999),
		"a raise that changes nothing":     raise(1000, 1000),
		"a max above INT_MAX":              raise(1000, 1<<31),
		"a max of all bits":                raise(1000, 1<<64-1),
		"a raise from no limit":            raise(0, 1000),
		"a hash that shrinks":              resize(1024, 512),
		"a hash above what any kernel has": resize(512, 1<<29),
		"a shortening that lengthens":      shorten(conntrack.UDP, 120, 121),
		"a timeout of 0":                   shorten(conntrack.UDP, 120, 0),
		"a timeout above any kernel's":     lengthen(conntrack.UDP, 120, 1<<31/100+1),
		"a timeout without a name":         shorten(conntrack.NoTimeout, 120, 60),
		"a timeout that does not exist":    shorten(conntrack.NumTimeouts, 120, 60),
		"a restored max of 0":              {Type: policy.RestoreMax, From: 1000},
		"max in another namespace":         {Type: policy.RaiseMax, NetNS: 7, From: 1000, To: 2000},
		"a deletion without a cap": {
			Type: policy.DeleteEntries, Class: policy.Unreplied, MinIdle: 1, SynSentIdle: 1,
		},
		"a deletion of replied entries": {
			Type: policy.DeleteEntries, Class: policy.Closing, MinIdle: 1, SynSentIdle: 1, Cap: 1,
		},
		"a deletion without an idle time": {Type: policy.DeleteEntries, Class: policy.Unreplied, SynSentIdle: 1, Cap: 1},
		"a deletion without an idle time for SYN_SENT": {
			Type: policy.DeleteEntries, Class: policy.Unreplied, MinIdle: 1, Cap: 1,
		},
		"ageing of unreplied entries":              {Type: policy.AgeEntries, Class: policy.Unreplied, Remaining: 30, Cap: 1},
		"ageing of live connections":               {Type: policy.AgeEntries, Class: policy.Established, Remaining: 30, Cap: 1},
		"ageing to nothing":                        {Type: policy.AgeEntries, Class: policy.Closing, Cap: 1},
		"ageing by more than a watch can remember": {Type: policy.AgeEntries, Class: policy.Established, MinIdle: remembered + 1, Remaining: 1, Cap: 1},
	}
	for name, act := range tests {
		t.Run(name, func(t *testing.T) {
			proc := newProc(t)
			k := openAt(t, proc.root, stateDir(t))
			out := policy.Outcome{Action: act}
			if err := k.apply(t.Context(), "", &out); !errors.Is(err, ErrInvalid) {
				t.Errorf("error %v, want ErrInvalid", err)
			}
			if _, err := os.Stat(k.store.path(ledgerName)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a ledger was written: %v", err)
			}
			wantValue(t, proc, conntrack.SysctlMax, 1000)
			wantValue(t, proc, conntrack.SysctlBuckets, 512)
		})
	}
}

func TestAPlannedActionWritesNothing(t *testing.T) {
	proc := newProc(t)
	k := openAt(t, proc.root, stateDir(t))
	act := raise(1000, 2000)
	act.Would = true
	out := k.Apply(t.Context(), "", act)
	if out.OK || out.Error != "" {
		t.Errorf("outcome %+v", out)
	}
	wantValue(t, proc, conntrack.SysctlMax, 1000)
}

func TestACancelledContextStopsAnAction(t *testing.T) {
	proc := newProc(t)
	k := openAt(t, proc.root, stateDir(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if out := k.Apply(ctx, "", raise(1000, 2000)); out.OK || out.Error != context.Canceled.Error() {
		t.Errorf("outcome %+v", out)
	}
	wantValue(t, proc, conntrack.SysctlMax, 1000)
}

func TestAForeignValueIsLeftAlone(t *testing.T) {
	proc, dir := newProc(t), stateDir(t)
	k := openAt(t, proc.root, dir)
	proc.set(conntrack.SysctlMax, 1234)
	want := policy.Outcome{Action: raise(1000, 2000), ChangedExternally: true, Before: 1234, After: 1234}
	wantDiff(t, "outcome", want, k.Apply(t.Context(), "", raise(1000, 2000)))
	wantValue(t, proc, conntrack.SysctlMax, 1234)
	if _, err := os.Stat(k.store.path(ledgerName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a ledger was written: %v", err)
	}
}

// TestTheOriginalIsKept follows one value through several writes.
func TestTheOriginalIsKept(t *testing.T) {
	proc, dir := newProc(t), stateDir(t)
	k := openAt(t, proc.root, dir)
	name := conntrack.UDP.Sysctl()
	entry := func() Row {
		t.Helper()
		stored, err := store{dir: dir}.read()
		if err != nil {
			t.Fatal(err)
		}
		wantDiff(t, "ledger in memory", stored, k.Ledger())
		e, _ := stored.find(name, k.options.Own.Inode())
		return e
	}
	now := start
	k.options.Now = func() time.Time { now = now.Add(time.Minute); return now }

	must(t, k, shorten(conntrack.UDP, 120, 60))
	want := Row{
		Sysctl: name, NetNS: k.options.Own.Inode(), Original: 120, Before: 120, Written: 60, ReadBack: 60,
		Reason: policy.ReasonChurn, Incident: "i1", Since: start.Add(2 * time.Minute), At: start.Add(2 * time.Minute),
		Leased: true, Boot: thisBoot,
	}
	wantDiff(t, "first write", want, entry())
	out := must(t, k, shorten(conntrack.UDP, 60, 30))
	want.Before, want.Written, want.ReadBack, want.At = 60, 30, 30, start.Add(5*time.Minute)
	wantDiff(t, "second write", want, entry())
	if out.Took != 2*time.Minute {
		t.Errorf("took %v by a clock that ticks once a minute", out.Took)
	}
	must(t, k, lengthen(conntrack.UDP, 30, 60))
	must(t, k, lengthen(conntrack.UDP, 60, 120))
	wantDiff(t, "an original that is back is forgotten", Row{}, entry())
}

// TestSomebodyElsesValueBecomesTheOriginal: the policy adopts a max that was
// raised by somebody else; what is put back later is theirs.
func TestAnExternalValueBecomesTheOriginal(t *testing.T) {
	proc := newProc(t)
	k := openAt(t, proc.root, stateDir(t))
	must(t, k, raise(1000, 2000))
	proc.set(conntrack.SysctlMax, 3000)
	must(t, k, raise(3000, 4000))
	l := k.Ledger()
	if len(l.History) != 1 || l.History[0].Why != record.NoteForeign || l.History[0].Original != 1000 || l.History[0].Found != 3000 {
		t.Errorf("history %+v", l.History)
	}
	if _, err := k.Revert(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	wantValue(t, proc, conntrack.SysctlMax, 3000)
}

// TestAYieldedValueIsNotPutBack even if ctwarden's own value stands there
// again, by chance or because somebody likes it.
func TestAYieldedValueIsNotPutBack(t *testing.T) {
	proc := newProc(t)
	k := openAt(t, proc.root, stateDir(t))
	must(t, k, raise(1000, 2000))
	must(t, k, shorten(conntrack.UDP, 120, 60))
	for _, ov := range []policy.Override{
		{Type: policy.RaiseMax, Wrote: 2000, Found: 1500},
		{Type: policy.ShortenTimeout, Knob: conntrack.UDP, Wrote: 60, Found: 90},
		{Type: policy.ShortenTimeout, Knob: conntrack.UDP, Wrote: 60, Found: 90},
	} {
		if err := k.Yield(0, ov); err != nil {
			t.Fatal(err)
		}
	}
	outcomes, err := k.Revert(t.Context(), true)
	if err != nil || len(outcomes) != 0 {
		t.Errorf("reverted %+v, %v", outcomes, err)
	}
	wantValue(t, proc, conntrack.SysctlMax, 2000)
	wantValue(t, proc, conntrack.UDP.Sysctl(), 60)
	if h := k.Ledger().History; len(h) != 2 {
		t.Errorf("history %+v", h)
	}
}

// TestAWriteThatCouldNotBeReadBackIsNoOverride: the policy, which was told that
// the second write failed, takes its value for somebody else's. The ledger
// knows better, and the original is not lost.
func TestAWriteThatCouldNotBeReadBackIsNoOverride(t *testing.T) {
	proc := newProc(t)
	k := openAt(t, proc.root, stateDir(t))
	must(t, k, shorten(conntrack.UDP, 120, 60))
	written := false
	k.sysctls.fault = func(step string) error {
		written = written || step == "wrote "+conntrack.UDP.Sysctl()
		if written && step == "read "+conntrack.UDP.Sysctl() {
			return unix.EMFILE
		}
		return nil
	}
	if out := k.Apply(t.Context(), "i1", shorten(conntrack.UDP, 60, 30)); out.OK {
		t.Fatalf("outcome %+v", out)
	}
	k.sysctls.fault = nil
	ov := policy.Override{Type: policy.ShortenTimeout, Knob: conntrack.UDP, Wrote: 60, Found: 30, Original: 120}
	if err := k.Yield(0, ov); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Revert(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	wantValue(t, proc, conntrack.UDP.Sysctl(), 120)
}

// TestAForeignValueEndsTheClaim: what Apply finds is not ours to put back.
func TestAForeignValueEndsTheClaim(t *testing.T) {
	proc := newProc(t)
	k := openAt(t, proc.root, stateDir(t))
	must(t, k, raise(1000, 2000))
	proc.set(conntrack.SysctlMax, 1500)
	if out := k.Apply(t.Context(), "", raise(2000, 3000)); !out.ChangedExternally {
		t.Errorf("outcome %+v", out)
	}
	proc.set(conntrack.SysctlMax, 2000)
	if _, err := k.Revert(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	wantValue(t, proc, conntrack.SysctlMax, 2000)
}

// TestAPlanFromAnotherValueKeepsTheClaim: a plan that is late is no sign that
// somebody else was there.
func TestAPlanFromAnotherValueKeepsTheClaim(t *testing.T) {
	proc := newProc(t)
	k := openAt(t, proc.root, stateDir(t))
	must(t, k, raise(1000, 2000))
	if out := k.Apply(t.Context(), "", raise(1000, 1500)); !out.ChangedExternally {
		t.Errorf("outcome %+v", out)
	}
	if _, err := k.Revert(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	wantValue(t, proc, conntrack.SysctlMax, 1000)
}

func TestTheKernelRoundsBuckets(t *testing.T) {
	page := pageBuckets()
	tests := map[string]struct {
		makes uint64
		ok    bool
	}{
		"as many as asked for":              {10 * page, true},
		"rounded up within a page":          {11*page - 1, true},
		"a page more is somebody else's":    {11 * page, false},
		"fewer than asked for is a failure": {10*page - 1, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			proc := newProc(t)
			k := openAt(t, proc.root, stateDir(t))
			k.sysctls.fault = func(step string) error {
				if step == "wrote "+conntrack.SysctlBuckets && proc.get(conntrack.SysctlBuckets) == 10*page {
					proc.set(conntrack.SysctlBuckets, tt.makes)
				}
				return nil
			}
			out := k.Apply(t.Context(), "", resize(512, 10*page))
			if out.OK != tt.ok || out.After != tt.makes {
				t.Errorf("outcome %+v", out)
			}
			if !tt.ok {
				return
			}
			k.options.Hash.MaxStall = time.Hour
			if outcomes, err := k.Revert(t.Context(), false); err != nil || len(outcomes) != 1 || !outcomes[0].OK {
				t.Errorf("reverted %+v, %v", outcomes, err)
			}
			wantValue(t, proc, conntrack.SysctlBuckets, 512)
		})
	}
}

// TestAResizeWaitsForADump and the other way round.
func TestAResizeWaitsForADump(t *testing.T) {
	proc := newProc(t)
	k := openAt(t, proc.root, stateDir(t))
	done := k.Dumping()
	wrote := make(chan struct{})
	k.sysctls.fault = func(step string) error {
		if step == "write "+conntrack.SysctlBuckets {
			close(wrote)
		}
		return nil
	}
	applied := make(chan policy.Outcome)
	go func() { applied <- k.Apply(t.Context(), "", resize(512, 1024)) }()
	for k.table.TryRLock() { // until the resize stands in line
		k.table.RUnlock()
		select {
		case out := <-applied:
			t.Fatalf("resized during a dump: %+v", out)
		default:
		}
	}
	select {
	case <-wrote:
		t.Fatal("resized during a dump")
	default:
	}
	done()
	done()
	if out := <-applied; !out.OK {
		t.Errorf("outcome %+v", out)
	}
	wantValue(t, proc, conntrack.SysctlBuckets, 1024)
}

// TestTheHashIsShrunkByARevertAlone: no plan may, whoever it says asked for it.
func TestTheHashIsShrunkByARevertAlone(t *testing.T) {
	proc := newProc(t)
	k := openAt(t, proc.root, stateDir(t))
	must(t, k, resize(512, 1024))
	shrink := resize(1024, 512)
	shrink.Reason = policy.ReasonRequested
	if out := k.Apply(t.Context(), "", shrink); out.OK || !strings.Contains(out.Error, ErrInvalid.Error()) {
		t.Errorf("outcome %+v", out)
	}
	wantValue(t, proc, conntrack.SysctlBuckets, 1024)
	if _, err := k.Revert(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	wantValue(t, proc, conntrack.SysctlBuckets, 512)
}

func TestReadRefusesWhatIsNotANumber(t *testing.T) {
	for name, text := range map[string]string{
		"a negative max of an old kernel": "-1\n",
		"nothing":                         "",
		"words":                           "many\n",
		"two numbers":                     "1 2\n",
		"more than 64 bits":               "18446744073709551616\n",
	} {
		t.Run(name, func(t *testing.T) {
			proc := newProc(t)
			if err := os.WriteFile(proc.path(conntrack.SysctlMax), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if v, err := (sysctls{proc: proc.root}).read(conntrack.SysctlMax); !errors.Is(err, ErrInvalid) {
				t.Errorf("read %d, %v", v, err)
			}
		})
	}
}

func TestErrorsKeepTheErrno(t *testing.T) {
	for errno, want := range map[error]error{
		unix.ENOENT: os.ErrNotExist, unix.EACCES: os.ErrPermission, unix.EPERM: os.ErrPermission,
		unix.EROFS: ErrReadOnly, io.ErrUnexpectedEOF: io.ErrUnexpectedEOF,
	} {
		err := explained(&os.PathError{Op: "open", Path: "x", Err: errno})
		if !errors.Is(err, want) || !errors.Is(err, errno) {
			t.Errorf("%v is not %v", err, want)
		}
	}
}

// TestAnOriginalThatIsFoundEndsTheClaimQuietly: somebody put it back already.
func TestAnOriginalThatIsFoundEndsTheClaimQuietly(t *testing.T) {
	proc := newProc(t)
	k := openAt(t, proc.root, stateDir(t))
	must(t, k, raise(1000, 2000))
	proc.set(conntrack.SysctlMax, 1000)
	if out := k.Apply(t.Context(), "", raise(2000, 3000)); !out.ChangedExternally {
		t.Errorf("outcome %+v", out)
	}
	if l := k.Ledger(); len(l.Entries)+len(l.History) != 0 {
		t.Errorf("ledger %+v", l)
	}
}
