package audit_test

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/audit/verify"
	"github.com/ctwarden/ctwarden/internal/record"
)

func TestFailedSyncTakesTheRecordBack(t *testing.T) {
	l := newLog(t, audit.Options{})
	l.add(t, 2)
	before := read(t, l.path)
	fail := true
	l.SetSync(func(f *os.File) error {
		if fail {
			fail = false // the truncation's own sync works
			return syscall.EIO
		}
		return f.Sync()
	})
	if _, err := l.Append(raw(record.KindPlan, nil)); !errors.Is(err, audit.ErrNotDurable) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("error %v", err)
	}
	if diff := cmp.Diff(before, read(t, l.path)); diff != "" {
		t.Errorf("the file is not as before (-want +got):\n%s", diff)
	}
	if h := l.Health(); h.Lost != 1 || !errors.Is(h.Err, syscall.EIO) {
		t.Errorf("health %+v", h)
	}
	l.add(t, 1)
	wantChain(t, l.path, "1 sample, 2 sample, 3 gap not_durable lost 1, 4 sample")
	wantOK(t, l.path, l.Head())
	if h := l.Health(); h != (audit.Health{}) {
		t.Errorf("health %+v", h)
	}
}

func TestDiskThatNeverSyncs(t *testing.T) {
	l := newLog(t, audit.Options{})
	l.add(t, 1)
	l.SetSync(func(*os.File) error { return syscall.EIO })
	for range 3 {
		if _, err := l.Append(raw(record.KindPlan, nil)); !errors.Is(err, audit.ErrNotDurable) {
			t.Fatalf("error %v", err)
		}
	}
	if len(l.notices) > 2 {
		t.Errorf("the same trouble was said %d times: %q", len(l.notices), l.notices)
	}
	l.SetSync((*os.File).Sync)
	l.add(t, 1)
	wantChain(t, l.path, "1 sample, 2 gap not_durable lost 3, 3 sample")
	wantOK(t, l.path, l.Head())
}

func TestMirrorCountsWhereTheFileFails(t *testing.T) {
	var mirrored []uint64
	var mirrorErr error
	l := newLog(t, audit.Options{Mirror: func(r audit.Record) error {
		if mirrorErr == nil {
			mirrored = append(mirrored, r.Seq)
		}
		return mirrorErr
	}})
	l.add(t, 2)
	l.SetSync(func(*os.File) error { return syscall.EIO })
	for range 2 {
		if _, err := l.Append(raw(record.KindPlan, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if h := l.Health(); h.MirrorOnly != 2 || h.Lost != 0 {
		t.Errorf("health %+v", h)
	}
	mirrorErr = errors.New("journal is gone")
	if _, err := l.Append(raw(record.KindPlan, nil)); !errors.Is(err, audit.ErrNotDurable) {
		t.Errorf("error %v, want ErrNotDurable", err)
	}
	mirrorErr = nil
	journalOnly := l.Head()
	l.SetSync((*os.File).Sync)
	l.add(t, 1)
	wantChain(t, l.path, "1 sample, 2 sample, 5 gap not_durable lost 1 3-4, 6 sample")
	wantOK(t, l.path, journalOnly, l.Head())
	if diff := cmp.Diff([]uint64{1, 2, 3, 4, 5, 6}, mirrored); diff != "" {
		t.Errorf("mirrored (-want +got):\n%s", diff)
	}
	journalOnly.Hash[0]++
	wantProblems(t, l.path, verify.Verifier{Known: []audit.Checkpoint{journalOnly}}, "rewritten 4")
}

func TestMirrorThatRefusesDoesNotHurtTheFile(t *testing.T) {
	err := errors.New("no journal")
	l := newLog(t, audit.Options{Mirror: func(audit.Record) error { return err }})
	l.add(t, 2)
	err = nil
	l.add(t, 1)
	err = audit.ErrNotMirrored
	l.add(t, 1)
	wantChain(t, l.path, "1 sample, 2 sample, 3 sample, 4 sample")
	if diff := cmp.Diff([]string{"mirror audit record: no journal"}, l.notices); diff != "" {
		t.Errorf("notices (-want +got):\n%s", diff)
	}
	l.SetSync(func(*os.File) error { return syscall.EIO })
	if _, err := l.Append(raw(record.KindSample, nil)); !errors.Is(err, audit.ErrNotDurable) {
		t.Errorf("a record that is not mirrored: error %v", err)
	}
}

// smallDisk mounts a disk of 64 KiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	dir := smallDisk(t)
	path := filepath.Join(dir, "audit.jsonl")
	ballast := filepath.Join(dir, "ballast")
	write(t, ballast, make([]byte, 32<<10))
	fullThenFree(t, path, syscall.ENOSPC, func() { os.Remove(ballast) })
}

// TestFileSizeLimit is the full disk for those who may not mount one.
func TestFileSizeLimit(t *testing.T) {
	const limited = "limited"
	if os.Getenv(childEnv) == limited {
		signal.Ignore(syscall.SIGXFSZ) // as the kernel's default would end the process
		limit := syscall.Rlimit{Cur: 32 << 10, Max: 1 << 30}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		fullThenFree(t, filepath.Join(t.TempDir(), "audit.jsonl"), syscall.EFBIG, func() {
			limit.Cur = limit.Max
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
				t.Fatal(err)
			}
		})
		return
	}
	if out, err := child(t, limited).CombinedOutput(); err != nil {
		t.Fatalf("child: %v\n%s", err, out)
	}
}

// fullThenFree fills the disk with records, restarts the log while it is
// full, and makes room again.
func fullThenFree(t *testing.T, path string, want error, free func()) {
	l := &bench{path: path}
	l.reopen(t)
	defer func() { l.Log.Close() }()
	pad := map[string]any{"pad": strings.Repeat("x", 1000)}
	good, lost := 0, 0
	for lost < 3 {
		switch _, err := l.Append(raw(record.KindSample, pad)); {
		case err == nil && lost == 0:
			good++
		case errors.Is(err, audit.ErrNotDurable) && errors.Is(err, want):
			lost++
		default:
			t.Fatalf("record %d: error %v, want %v", good+lost, err, want)
		}
	}
	if good == 0 {
		t.Fatal("no record fitted")
	}
	if text := read(t, path); text[len(text)-1] != '\n' {
		t.Error("half a record is left in the file")
	}
	wantOK(t, path, l.Head())
	free()
	l.add(t, 1)
	if chain := chainOf(t, path); !strings.HasSuffix(chain, fmt.Sprintf("%d sample, %d gap not_durable lost 3, %d sample", good, good+1, good+2)) {
		t.Errorf("chain %s", chain)
	}
	wantOK(t, path, l.Head())
}

func TestTornLineOnAFullDisk(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	dir := smallDisk(t)
	l := &bench{path: filepath.Join(dir, "audit.jsonl")}
	l.reopen(t)
	l.add(t, 3)
	l.Close()
	text := read(t, l.path)
	write(t, l.path, text[:len(text)-30])
	ballast := filepath.Join(dir, "ballast")
	err := os.WriteFile(ballast, make([]byte, 64<<10), 0o600)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	l.reopen(t)
	defer func() { l.Log.Close() }()
	if _, err := l.Append(raw(record.KindStart, nil)); !errors.Is(err, audit.ErrNotDurable) {
		t.Fatalf("error %v, want ErrNotDurable", err)
	}
	if diff := cmp.Diff(text[:len(text)-30], read(t, l.path)); diff != "" {
		t.Errorf("the torn line is not as it was (-want +got):\n%s", diff)
	}
	os.Remove(ballast)
	l.add(t, 1)
	wantChain(t, l.path, "1 sample, 2 sample, 3 gap not_durable lost 1, 4 gap torn, 5 sample")
	wantOK(t, l.path, l.Head())
}
