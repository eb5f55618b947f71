package audit_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
)

func TestCloseRecordsWhatIsMissing(t *testing.T) {
	l := newLog(t, audit.Options{})
	l.add(t, 1)
	l.SetSync(func(*os.File) error { return syscall.EIO })
	if _, err := l.Append(raw(record.KindPlan, nil)); !errors.Is(err, audit.ErrNotDurable) {
		t.Fatalf("error %v", err)
	}
	l.SetSync((*os.File).Sync)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantChain(t, l.path, "1 sample, 2 gap not_durable lost 1")
	if _, err := l.Append(raw(record.KindStop, nil)); !errors.Is(err, audit.ErrNotDurable) {
		t.Errorf("append to a closed log: error %v", err)
	}
}

// TestHalfRecordIsTakenBackLater is the disk that refuses the truncation too.
func TestHalfRecordIsTakenBackLater(t *testing.T) {
	l := newLog(t, audit.Options{})
	l.add(t, 1)
	if err := l.WriteHalf(`{"seq":2,"ti`); err != nil {
		t.Fatal(err)
	}
	l.add(t, 1)
	wantChain(t, l.path, "1 sample, 2 gap not_durable lost 1, 3 sample")
	wantOK(t, l.path, l.Head())
}

func TestModeUnderAStrictUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	l := newLog(t, audit.Options{})
	if info, err := os.Stat(l.path); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v; want 0640", info.Mode(), err)
	}
}

func TestSegmentAfterCopytruncateHasItsOwnNumber(t *testing.T) {
	l := newLog(t, audit.Options{SegmentSize: 400})
	l.add(t, 1)
	write(t, l.path+".1", read(t, l.path))
	write(t, l.path, nil)
	l.add(t, 3)
	if _, err := os.Stat(filepath.Join(filepath.Dir(l.path), audit.SegmentName(l.path, 2))); err != nil {
		t.Errorf("segment: %v", err)
	}
	wantOK(t, l.path, l.Head())
}

// TestTornLineIsRecordedOnce is the process that died between copying a torn
// line and cutting it off.
func TestTornLineIsRecordedOnce(t *testing.T) {
	l := newLog(t, audit.Options{})
	l.add(t, 1)
	l.Close()
	const torn = `{"seq":2,"time":`
	write(t, l.path, append(read(t, l.path), torn...))
	write(t, l.path+".torn-20261120T190000.000000000Z"+audit.AsideNew, []byte(torn))
	l.reopen(t)
	l.add(t, 1)
	wantChain(t, l.path, "1 sample, 2 gap torn, 3 sample")
	if aside, _ := filepath.Glob(l.path + ".*"); len(aside) != 1 {
		t.Errorf("set aside %q", aside)
	}
}

func TestOpenHeals(t *testing.T) {
	tests := []struct {
		name   string
		mangle func([]byte) []byte
		chain  string
		files  []string
	}{
		{
			"a line cut off in the middle",
			func(b []byte) []byte { return b[:len(b)-40] },
			"1 sample, 2 sample, 3 gap torn, 4 sample", []string{"audit.jsonl", "audit.jsonl.torn"},
		},
		{
			"a line without its newline",
			func(b []byte) []byte { return b[:len(b)-1] },
			"1 sample, 2 sample, 3 gap torn, 4 sample", []string{"audit.jsonl", "audit.jsonl.torn"},
		},
		{
			"a first line cut off",
			func(b []byte) []byte { return b[:5] },
			"1 gap torn, 2 sample", []string{"audit.jsonl", "audit.jsonl.torn"},
		},
		{
			"zeros that a power cut left",
			func(b []byte) []byte { return append(b, make([]byte, 4096)...) },
			"1 sample, 2 sample, 3 sample, 4 gap damaged, 5 sample", []string{"audit.jsonl", "audit.jsonl.torn"},
		},
		{
			"more zeros than the tail that is searched",
			func(b []byte) []byte { return append(b, make([]byte, 3*audit.MaxLine)...) },
			"1 sample, 2 sample, 3 sample, 4 gap damaged, 5 sample", []string{"audit.jsonl", "audit.jsonl.torn"},
		},
		{
			"whole lines of somebody else",
			func(b []byte) []byte { return append(b, "hello\nworld\n"...) },
			"1 sample, 2 sample, 3 sample, 4 gap damaged, 5 sample", []string{"audit.jsonl", "audit.jsonl.torn"},
		},
		{
			"another file altogether",
			func([]byte) []byte { return []byte("# my notes\n") },
			"1 gap foreign, 2 sample", []string{"audit.jsonl", "audit.jsonl.foreign"},
		},
		{
			"an empty file",
			func([]byte) []byte { return nil },
			"1 sample", []string{"audit.jsonl"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t, audit.Options{})
			l.add(t, 3)
			l.Close()
			before := read(t, l.path)
			mangled := tt.mangle(bytes.Clone(before))
			write(t, l.path, mangled)
			l.reopen(t)
			l.add(t, 1)
			wantChain(t, l.path, tt.chain)
			if diff := cmp.Diff(tt.files, dirOf(t, l.path)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			wantNothingLost(t, l, mangled)
		})
	}
}

// wantNothingLost checks that every byte of old is in the log or aside.
func wantNothingLost(t *testing.T, l *bench, old []byte) {
	t.Helper()
	aside, _ := filepath.Glob(l.path + ".*")
	var rest []byte
	for _, name := range aside {
		rest = read(t, name)
	}
	now := read(t, l.path)
	kept, ok := bytes.CutSuffix(old, rest)
	if !ok || !bytes.HasPrefix(now, kept) {
		t.Errorf("%d bytes before, %d set aside, and the rest is not in the log", len(old), len(rest))
	}
	if (len(aside) > 0) != (len(l.notices) > 0) {
		t.Errorf("notices %q", l.notices)
	}
}
