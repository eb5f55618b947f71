package audit

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestCloseRecordsWhatIsMissing(t *testing.T) {
	l := newLog(t, Options{})
	l.add(t, 1)
	l.sync = func(*os.File) error { return syscall.EIO }
	if _, err := l.Append(KindPlan, nil); !errors.Is(err, ErrNotDurable) {
		t.Fatalf("error %v", err)
	}
	l.sync = (*os.File).Sync
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantChain(t, l.path, "1 sample, 2 gap not_durable lost 1")
	if _, err := l.Append(KindStop, nil); !errors.Is(err, ErrNotDurable) {
		t.Errorf("append to a closed log: error %v", err)
	}
}

// TestHalfRecordIsTakenBackLater is the disk that refuses the truncation too.
func TestHalfRecordIsTakenBackLater(t *testing.T) {
	l := newLog(t, Options{})
	l.add(t, 1)
	if _, err := l.file.WriteString(`{"seq":2,"ti`); err != nil {
		t.Fatal(err)
	}
	l.half, l.lost = true, 1
	l.add(t, 1)
	wantChain(t, l.path, "1 sample, 2 gap not_durable lost 1, 3 sample")
	wantOK(t, l.path, l.Head())
}

func TestModeUnderAStrictUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	l := newLog(t, Options{})
	if info, err := os.Stat(l.path); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v; want 0640", info.Mode(), err)
	}
}

func TestSegmentAfterCopytruncateHasItsOwnNumber(t *testing.T) {
	l := newLog(t, Options{SegmentSize: 400})
	l.add(t, 1)
	write(t, l.path+".1", read(t, l.path))
	write(t, l.path, nil)
	l.add(t, 3)
	if _, err := os.Stat(filepath.Join(filepath.Dir(l.path), segmentName(l.path, 2))); err != nil {
		t.Errorf("segment: %v", err)
	}
	wantOK(t, l.path, l.Head())
}

// TestTornLineIsRecordedOnce is the process that died between copying a torn
// line and cutting it off.
func TestTornLineIsRecordedOnce(t *testing.T) {
	l := newLog(t, Options{})
	l.add(t, 1)
	l.Close()
	const torn = `{"seq":2,"time":`
	write(t, l.path, append(read(t, l.path), torn...))
	write(t, l.path+".torn-20261120T190000.000000000Z"+asideNew, []byte(torn))
	l.reopen(t)
	l.add(t, 1)
	wantChain(t, l.path, "1 sample, 2 gap torn, 3 sample")
	if aside, _ := filepath.Glob(l.path + ".*"); len(aside) != 1 {
		t.Errorf("set aside %q", aside)
	}
}
