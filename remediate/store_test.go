package remediate

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

func sampleLedger() Ledger {
	e := Row{
		Sysctl: conntrack.SysctlMax, Original: 1000, Before: 1000, Written: 2000, ReadBack: 2000,
		Reason: policy.ReasonFill, Incident: "i1", Since: start, At: start, Boot: thisBoot,
	}
	u := e
	u.Sysctl, u.NetNS, u.Leased = conntrack.UDP.Sysctl(), 7, true
	return Ledger{Entries: []Row{u, e}, History: []Released{{Row: e, Why: record.NoteForeign, Found: 3}}}
}

func encoded(tb testing.TB, l Ledger) []byte {
	tb.Helper()
	text, err := l.encode()
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func TestLedgerThroughItsFile(t *testing.T) {
	want := sampleLedger()
	got, err := decodeLedger(encoded(t, want))
	if err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "ledger", want, got)
	var reformatted bytes.Buffer
	if err := json.Compact(&reformatted, encoded(t, want)); err != nil {
		t.Fatal(err)
	}
	if _, err := decodeLedger(reformatted.Bytes()); err != nil {
		t.Errorf("white space breaks the checksum: %v", err)
	}
}

// TestALedgerThatCantBeTrustedIsSetAside and never overwritten.
func TestALedgerThatCantBeTrustedIsSetAside(t *testing.T) {
	whole := string(encoded(t, sampleLedger()))
	with := func(change func(*Ledger)) string {
		l := sampleLedger()
		change(&l)
		return string(encoded(t, l))
	}
	tests := map[string]string{
		"an empty file":              "",
		"half of a file":             whole[:len(whole)/2],
		"zeros, as after a crash":    strings.Repeat("\x00", 4096),
		"a digit that was changed":   strings.Replace(whole, "1000", "1001", 1),
		"another version":            strings.Replace(whole, `"version": 1`, `"version": 2`, 1),
		"no checksum":                strings.Replace(whole, "sha256:", "", 1),
		"something else":             `{"entries": []}`,
		"two ledgers":                whole + whole,
		"a name with a way out":      with(func(l *Ledger) { l.Entries[0].Sysctl = "../../kernel/panic" }),
		"a name that is no timeout":  with(func(l *Ledger) { l.Entries[0].Sysctl = "nf_conntrack_none" }),
		"a name without its prefix":  with(func(l *Ledger) { l.Entries[0].Sysctl = "udp_timeout" }),
		"an original of 0":           with(func(l *Ledger) { l.Entries[0].Original = 0 }),
		"an original above INT_MAX":  with(func(l *Ledger) { l.Entries[1].Original = 1 << 31 }),
		"max of another namespace":   with(func(l *Ledger) { l.Entries[1].NetNS = 7 }),
		"a timeout of no namespace":  with(func(l *Ledger) { l.Entries[0].NetNS = 0 }),
		"more than any ledger takes": whole + strings.Repeat(" ", ledgerMost),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			proc, dir := newProc(t), stateDir(t)
			for _, n := range []string{"1", "2"} {
				path := filepath.Join(dir, ledgerName)
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				k := openAt(t, proc.root, dir)
				claims, err := k.Reconcile(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if len(claims.Notes) != 1 || claims.Notes[0].Kind != record.NoteSetAside || claims.Notes[0].Path != path+".torn-"+n {
					t.Errorf("notes %+v", claims.Notes)
				}
				must(t, k, raise(1000, 2000))
				must(t, k, policy.Action{Type: policy.RestoreMax, From: 2000, To: 1000})
				if err := k.Close(); err != nil {
					t.Fatal(err)
				}
				kept, err := os.ReadFile(path + ".torn-" + n)
				if err != nil || string(kept) != text {
					t.Errorf("set aside %d bytes, %v", len(kept), err)
				}
			}
		})
	}
}

func TestALedgerOfAnotherUserIsRefused(t *testing.T) {
	whole := encoded(t, sampleLedger())
	write := func(t *testing.T, path string) {
		t.Helper()
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	chown := func(t *testing.T, path string, uid int) {
		t.Helper()
		if os.Geteuid() != 0 {
			t.Skip("needs root to give a file away")
		}
		if err := os.Chown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]func(t *testing.T, dir, ledger string){
		"a symbolic link": func(t *testing.T, dir, ledger string) {
			write(t, filepath.Join(dir, "elsewhere"))
			if err := os.Symlink("elsewhere", ledger); err != nil {
				t.Fatal(err)
			}
		},
		"a file with another name": func(t *testing.T, dir, ledger string) {
			write(t, ledger)
			if err := os.Link(ledger, filepath.Join(dir, "elsewhere")); err != nil {
				t.Fatal(err)
			}
		},
		"a file that others may write": func(t *testing.T, _, ledger string) {
			write(t, ledger)
			if err := os.Chmod(ledger, 0o620); err != nil {
				t.Fatal(err)
			}
		},
		"a directory that everybody may write": func(t *testing.T, dir, _ string) {
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
		},
		"a pipe": func(t *testing.T, _, ledger string) {
			if err := unix.Mkfifo(ledger, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a directory": func(t *testing.T, _, ledger string) {
			if err := os.Mkdir(ledger, 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"another owner's file": func(t *testing.T, _, ledger string) {
			write(t, ledger)
			chown(t, ledger, 65534)
		},
		"a lock that is a symbolic link": func(t *testing.T, dir, _ string) {
			if err := os.Symlink("elsewhere", filepath.Join(dir, lockName)); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			proc, dir := newProc(t), stateDir(t)
			prepare(t, dir, filepath.Join(dir, ledgerName))
			before := listing(t, dir)
			k, err := Open(Options{Proc: proc.root, Dir: dir})
			if !errors.Is(err, ErrUntrusted) {
				t.Errorf("error %v, want ErrUntrusted", err)
			}
			if k != nil {
				t.Error("a kernel in spite of the error")
			}
			delete(before, lockName)
			after := listing(t, dir)
			delete(after, lockName)
			wantDiff(t, "files", before, after)
		})
	}
}

func listing(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	list := map[string]string{}
	for _, f := range files {
		list[f.Name()] = f.Type().String()
	}
	return list
}

// TestWhatRootWritesBelongsToTheDaemon: a revert by hand must not lock out the
// daemon, which is not root.
func TestWhatRootWritesBelongsToTheDaemon(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to give a directory away")
	}
	proc, dir := newProc(t), stateDir(t)
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	k := openAt(t, proc.root, dir)
	must(t, k, raise(1000, 2000))
	for _, name := range []string{ledgerName, lockName} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		stat, err := owner(info, nil)
		if err != nil {
			t.Fatal(err)
		}
		if stat.Uid != 65534 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s belongs to %d, %v", name, stat.Uid, info.Mode())
		}
	}
}

func TestOneInstance(t *testing.T) {
	proc, dir := newProc(t), stateDir(t)
	first := openAt(t, proc.root, dir)
	_, err := Open(Options{Proc: proc.root, Dir: dir})
	var locked *LockedError
	if !errors.Is(err, ErrLocked) || !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("error %v", err)
	}
	// To look is permitted.
	if _, err := RevertCommands(Options{Proc: proc.root, Dir: dir}); err != nil {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	openAt(t, proc.root, dir)
}

func TestTheStateDirectoryIsMade(t *testing.T) {
	proc, dir := newProc(t), filepath.Join(stateDir(t), "ctwarden")
	k := openAt(t, proc.root, dir)
	must(t, k, raise(1000, 2000))
	if commands, err := RevertCommands(Options{Proc: proc.root, Dir: dir + "x"}); err != nil || commands != nil {
		t.Errorf("nothing was installed: %q, %v", commands, err)
	}
}

func TestOpenNeedsTheBoot(t *testing.T) {
	proc := newProc(t)
	proc.boot("")
	if _, err := Open(Options{Proc: proc.root, Dir: stateDir(t)}); err == nil {
		t.Error("no boot id is no error")
	}
}

// TestAFullDiskStopsTheAction on a file system that is really full.
func TestAFullDiskStopsTheAction(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small tmpfs")
	}
	proc, dir := newProc(t), stateDir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		if errors.Is(err, unix.EPERM) {
			t.Skip("needs CAP_SYS_ADMIN to mount a small tmpfs")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	k := openAt(t, proc.root, dir)
	must(t, k, raise(1000, 2000))
	hog := filepath.Join(dir, "hog")
	if err := os.WriteFile(hog, bytes.Repeat([]byte{1}, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	out := policy.Outcome{Action: raise(2000, 3000)}
	if err := k.apply(t.Context(), "", &out); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v, want ENOSPC", err)
	}
	wantValue(t, proc, conntrack.SysctlMax, 2000)
	// A revert needs no room for more than was there; it may still be that
	// the ledger can't be replaced, which is told.
	outcomes, err := k.Revert(t.Context(), false)
	if err != nil || len(outcomes) != 1 || !outcomes[0].OK || outcomes[0].Note == "" {
		t.Errorf("reverted %+v, %v", outcomes, err)
	}
	wantValue(t, proc, conntrack.SysctlMax, 1000)
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	outcomes, err = k.Revert(t.Context(), false)
	if err != nil || len(outcomes) != 1 || !outcomes[0].OK {
		t.Errorf("reverted again %+v, %v", outcomes, err)
	}
	if l := k.Ledger(); len(l.Entries) != 0 {
		t.Errorf("ledger %+v", l)
	}
}

func TestTheHistoryIsBounded(t *testing.T) {
	var l Ledger
	for i := range 3 * historyMost {
		l = l.released(Row{Sysctl: conntrack.SysctlMax, Original: uint64(i)}, record.NoteRebooted, 0)
	}
	if len(l.History) != historyMost || l.History[historyMost-1].Original != 3*historyMost-1 {
		t.Errorf("%d in the history, the last %+v", len(l.History), l.History[len(l.History)-1])
	}
}

func FuzzDecodeLedger(f *testing.F) {
	whole := encoded(f, sampleLedger())
	f.Add(whole)
	f.Add(whole[:40])
	f.Add([]byte(`{"version":1,"checksum":"","content":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := decodeLedger(text)
		if err != nil {
			if !errors.Is(err, errTorn) {
				t.Errorf("error %v is not errTorn", err)
			}
			return
		}
		again, err := decodeLedger(encoded(t, l))
		if err != nil {
			t.Fatal(err)
		}
		if len(again.Entries) != len(l.Entries) {
			t.Errorf("%d entries became %d", len(l.Entries), len(again.Entries))
		}
	})
}

func TestNotesAreSentences(t *testing.T) {
	for kind := record.NoteKept; kind <= record.NoteSetAside; kind++ {
		n := record.Note{Kind: kind, Sysctl: conntrack.SysctlMax, NetNS: 7, Original: 1, Written: 2, Found: 3, Path: "p", Error: "e"}
		if s := n.Sentence(); s == "nothing" || strings.HasSuffix(s, ".") {
			t.Errorf("%s: %q", kind, s)
		}
		var back record.NoteKind
		text, _ := kind.MarshalText()
		if err := back.UnmarshalText(text); err != nil || back != kind {
			t.Errorf("%s became %s, %v", kind, back, err)
		}
	}
	if err := new(record.NoteKind).UnmarshalText([]byte("lost")); err == nil {
		t.Error("an unknown kind is no error")
	}
}

// TestALedgerThatNobodyCouldReadIsNotWritten: reading refuses a file that is too
// large, so that writing one would lose every original.
func TestAnUnreadableLedgerIsNotWritten(t *testing.T) {
	s := store{dir: stateDir(t)}
	var l Ledger
	for i := range uint32(17) {
		l.Entries = append(l.Entries, Row{
			Sysctl: conntrack.UDP.Sysctl(), NetNS: i + 1, Original: 30, Before: 30, Written: 20, ReadBack: 20,
			Incident: strings.Repeat("x", 1<<20), Since: start, At: start, Boot: thisBoot,
		})
	}
	few := Ledger{Entries: l.Entries[:1]}
	if err := s.save(few); err != nil {
		t.Fatal(err)
	}
	if err := s.save(l); err == nil {
		t.Error("written")
	}
	got, err := s.read()
	if err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "ledger", few, got)
}

func TestALockedErrorNamesTheProcessIfItCan(t *testing.T) {
	for pid, want := range map[int]string{
		0:  "lock /x: another instance is running",
		77: "lock /x: another instance is running: process 77",
	} {
		if got := (&LockedError{PID: pid, Path: "/x"}).Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
