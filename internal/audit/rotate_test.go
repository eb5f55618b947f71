package audit_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/audit/verify"
	"github.com/ctwarden/ctwarden/internal/record"
)

func TestRotation(t *testing.T) {
	now := epoch
	l := newLog(t, audit.Options{Now: func() time.Time { return now }, SegmentSize: 600, SegmentAge: time.Hour})
	l.add(t, 3)
	now = now.Add(time.Hour)
	l.add(t, 1)
	now = now.Add(-24 * time.Hour)
	l.add(t, 1)
	segments, err := audit.SegmentsOf(l.path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range segments {
		got = append(got, s.File)
	}
	want := []string{
		"audit-00000000000000000001.jsonl", // two of 258 bytes do not reach 600, three do
		"audit.jsonl",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("segments (-want +got):\n%s", diff)
	}
	if s := segments[1]; s.First != 4 || !s.Current || !s.FirstTime.Equal(epoch.Add(time.Hour)) {
		t.Errorf("segment %+v", s)
	}
	now = epoch.Add(2 * time.Hour)
	l.add(t, 1)
	l.reopen(t)
	l.add(t, 1)
	wantChain(t, l.path, "1 sample, 2 sample, 3 sample, 4 sample, 5 sample, 6 sample, 7 sample")
	if r := wantOK(t, l.path, l.Head()); r.Segments != 3 {
		t.Errorf("%d segments, want 3", r.Segments)
	}
}

// TestEachFileCarriesWhatItNeeds: retention may leave any of them the first.
func TestEachFileCarriesWhatItNeeds(t *testing.T) {
	now := epoch
	l := newLog(t, audit.Options{
		Now: func() time.Time { return now }, SegmentAge: time.Hour, KeepAge: 90 * time.Minute,
		SegmentHeader: func() record.Payload { return raw(record.KindConfig, map[string]string{"digest": "abc"}) },
	})
	for range 4 {
		l.add(t, 1)
		now = now.Add(time.Hour)
	}
	if _, err := l.Append(raw(record.KindConfig, map[string]string{"digest": "def"})); err != nil {
		t.Fatal(err)
	}
	segments, err := audit.SegmentsOf(l.path)
	if err != nil {
		t.Fatal(err)
	}
	if len(segments) == 0 || segments[0].First == 1 {
		t.Fatalf("segments %+v, want the first removed", segments)
	}
	wantChain(t, l.path, "7 config, 8 sample, 9 gap retention, 10 config, 11 gap retention")
	wantOK(t, l.path, l.Head())
}

func TestRotationNeverOverwrites(t *testing.T) {
	l := newLog(t, audit.Options{SegmentSize: 1})
	taken := filepath.Join(filepath.Dir(l.path), audit.SegmentName(l.path, 1))
	if err := os.Mkdir(taken, 0o700); err != nil {
		t.Fatal(err)
	}
	l.add(t, 3)
	wantChain(t, l.path, "1 sample, 2 sample, 3 sample")
	if len(l.notices) != 1 || !strings.Contains(l.notices[0], "file exists") {
		t.Errorf("notices %q", l.notices)
	}
}

func TestSomebodyElseTouchesTheFile(t *testing.T) {
	tests := []struct {
		name     string
		act      func(t *testing.T, path string)
		chain    string
		problems []string
	}{
		{
			"logrotate moves it away",
			func(t *testing.T, p string) { rename(t, p, p+".1") },
			"1 sample, 2 sample, 3 sample, 4 sample", nil,
		},
		{
			"logrotate moves it and makes an empty one",
			func(t *testing.T, p string) { rename(t, p, p+"-20261120"); write(t, p, nil) },
			"1 sample, 2 sample, 3 sample, 4 sample", nil,
		},
		{
			"logrotate moves and compresses it",
			func(t *testing.T, p string) {
				var b bytes.Buffer
				z := gzip.NewWriter(&b)
				if _, err := z.Write(read(t, p)); err != nil || z.Close() != nil {
					t.Fatal(err)
				}
				write(t, p+".2.gz", b.Bytes())
				os.Remove(p)
			},
			"1 sample, 2 sample, 3 sample, 4 sample", nil,
		},
		{
			"logrotate copies and truncates it",
			func(t *testing.T, p string) { write(t, p+".1", read(t, p)); write(t, p, nil) },
			"1 sample, 2 sample, 3 sample, 4 sample", nil,
		},
		{
			"an editor writes it anew, unchanged",
			func(t *testing.T, p string) { b := read(t, p); os.Remove(p); write(t, p, b) },
			"1 sample, 2 sample, 3 sample, 4 sample", nil,
		},
		{
			"an editor cuts the last line",
			func(t *testing.T, p string) {
				b := read(t, p)
				write(t, p, b[:bytes.LastIndexByte(b[:len(b)-1], '\n')+1])
			},
			"1 sample, 2 sample, 4 gap cut 3-3, 5 sample", []string{"removed 3"},
		},
		{
			"a line is appended",
			func(t *testing.T, p string) { write(t, p, append(read(t, p), "hello\n"...)) },
			"1 sample, 2 sample, 3 sample, 4 gap foreign, 5 sample", []string{"damaged 4"},
		},
		{
			"another file is put there",
			func(t *testing.T, p string) { rename(t, p, p+".1"); write(t, p, []byte("hello\n")) },
			"1 sample, 2 sample, 3 sample, 4 gap foreign, 5 sample", []string{"damaged 4"},
		},
		{
			"it is deleted",
			func(t *testing.T, p string) { os.Remove(p) },
			"4 sample", []string{"removed 1-3"},
		},
	}
	for _, tt := range tests {
		for _, restart := range []bool{false, true} {
			name := tt.name
			if restart {
				name += ", then a restart"
			}
			t.Run(name, func(t *testing.T) {
				l := newLog(t, audit.Options{})
				l.add(t, 3)
				tt.act(t, l.path)
				l.add(t, 1)
				if restart {
					l.reopen(t)
				}
				wantChain(t, l.path, tt.chain)
				wantProblems(t, l.path, verify.Verifier{Known: []audit.Checkpoint{l.Head()}}, tt.problems...)
				// A file that lost its end, or got a longer one, has a gap record.
				same := tt.name == "an editor cuts the last line" || tt.name == "a line is appended"
				if reported := strings.Contains(strings.Join(l.notices, "\n"), "another program "); reported == same {
					t.Errorf("notices %q", l.notices)
				}
			})
		}
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestRetentionBySize(t *testing.T) {
	l := newLog(t, audit.Options{SegmentSize: 1, KeepSize: 3000})
	incident := func(kind record.Kind, name string) {
		t.Helper()
		if _, err := l.Append(raw(kind, map[string]string{"incident": name})); err != nil {
			t.Fatal(err)
		}
	}
	first := func() uint64 {
		t.Helper()
		segments, err := audit.SegmentsOf(l.path)
		if err != nil {
			t.Fatal(err)
		}
		return segments[0].First
	}
	l.add(t, 2)
	incident(record.KindIncidentOpen, "A") // record 3
	l.add(t, 1)
	incident(record.KindIncidentOpen, "B") // record 5
	l.add(t, 20)
	if n := first(); n != 3 {
		t.Errorf("two incidents are open, the first of them since record 3: the log begins with record %d", n)
	}
	incident(record.KindIncidentClose, "A")
	l.add(t, 1)
	if n := first(); n != 5 {
		t.Errorf("B is open since record 5: the log begins with record %d", n)
	}
	l.reopen(t)
	if err := l.Resume("B", "an incident whose beginning is not there"); err != nil {
		t.Fatal(err)
	}
	l.add(t, 2)
	if n := first(); n != 5 {
		t.Errorf("B goes on after a restart: the log begins with record %d, want 5", n)
	}
	incident(record.KindIncidentClose, "B")
	l.add(t, 2)
	if n := first(); n <= 5 {
		t.Errorf("nothing was removed: the first record is %d", n)
	}
	l.reopen(t)
	l.add(t, 1)
	r := wantOK(t, l.path, l.Head())
	if n := len(r.Explained); n == 0 || r.Explained[n-1].Reason != record.GapRetention {
		t.Errorf("explained %+v", r.Explained)
	}
	// A segment that retention did not remove is missed.
	segments, _ := audit.SegmentsOf(l.path)
	os.Remove(filepath.Join(filepath.Dir(l.path), segments[0].File))
	res, err := verify.Verifier{}.Verify(t.Context(), l.path)
	if err != nil || res.OK() {
		t.Errorf("a removed segment was not missed: %+v, %v", res, err)
	}
}

func TestRetentionByAge(t *testing.T) {
	now := epoch
	l := newLog(t, audit.Options{Now: func() time.Time { return now }, SegmentAge: time.Hour, KeepAge: 3 * time.Hour})
	for range 8 {
		l.add(t, 1)
		now = now.Add(time.Hour)
	}
	segments, _ := audit.SegmentsOf(l.path)
	for _, s := range segments {
		if now.Sub(s.FirstTime) > 5*time.Hour {
			t.Errorf("segment %+v is still there at %v", s, now)
		}
	}
	wantOK(t, l.path, l.Head())
}

// TestDeathAtEveryStep kills a process between any two steps of a busy log
// and looks at what the next one finds.
func TestDeathAtEveryStep(t *testing.T) {
	if step := os.Getenv("CTWARDEN_AUDIT_STEP"); step != "" {
		dieAt(t, step)
		return
	}
	steps := []string{
		"created", "write", "written", "synced", "mirrored", "rotated", "removed",
		"copied aside", "truncated", "set aside", "recorded", "cut back",
	}
	for _, step := range steps {
		for _, n := range []string{"1", "2"} {
			t.Run(step+" "+n, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "audit.jsonl")
				acked := runToDeath(t, path, step, n)
				l := &bench{path: path}
				l.reopen(t)
				defer func() { l.Log.Close() }()
				l.add(t, 1)
				wantOnlyDamage(t, path, append(acked, l.Head()))
				if left, _ := filepath.Glob(path + ".*" + audit.AsideNew); len(left) > 0 {
					t.Errorf("not recorded: %q", left)
				}
			})
		}
	}
}

// wantOnlyDamage allows for the line that is no record, which the child adds.
func wantOnlyDamage(t *testing.T, path string, known []audit.Checkpoint) {
	t.Helper()
	r, err := verify.Verifier{Known: known}.Verify(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Problems {
		if p.Kind != verify.Damaged {
			t.Errorf("problem: %v", p)
		}
	}
}

// runToDeath runs a child that dies at its n-th passing of step, and returns
// the records that it was told are durable.
func runToDeath(t *testing.T, path, step, n string) []audit.Checkpoint {
	t.Helper()
	acks := path + "-acks"
	cmd := child(t, "dies", "CTWARDEN_AUDIT_STEP="+step, "CTWARDEN_AUDIT_N="+n, "CTWARDEN_AUDIT_PATH="+path)
	cmd.Args[1] = "-test.run=^TestDeathAtEveryStep$"
	out, err := cmd.CombinedOutput()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Fatalf("child: %v\n%s", err, out)
	}
	var checkpoints []audit.Checkpoint
	for line := range strings.Lines(string(read(t, acks))) {
		r, err := audit.Parse([]byte(strings.TrimSuffix(line, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		checkpoints = append(checkpoints, r.Checkpoint())
	}
	return checkpoints
}

// dieAt is the child: a log that rotates, removes, heals and fails.
func dieAt(t *testing.T, step string) {
	path, n := os.Getenv("CTWARDEN_AUDIT_PATH"), int(os.Getenv("CTWARDEN_AUDIT_N")[0]-'0')
	acks, err := os.Create(path + "-acks")
	if err != nil {
		t.Fatal(err)
	}
	die := func(at string) {
		if at != step {
			return
		}
		if n--; n == 0 {
			if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err == nil {
				select {}
			}
		}
	}
	o := audit.Options{Now: clock(), SegmentSize: 600, KeepSize: 3000, Mirror: func(audit.Record) error { return audit.ErrNotMirrored }}
	for round := range 6 {
		l, err := audit.OpenStepping(path, o, die)
		if err != nil {
			t.Fatal(err)
		}
		for range 9 {
			if r, err := l.Append(raw(record.KindSample, map[string]int{"round": round})); err == nil {
				if _, err := fmt.Fprintf(acks, "%s\n", r.Line()); err != nil {
					t.Fatal(err)
				}
			}
		}
		l.SetSync(func(*os.File) error { l.SetSync((*os.File).Sync); return errors.New("no") })
		l.Append(raw(record.KindPlan, nil)) //nolint:errcheck // it is to fail
		l.Close()
		tail := []byte(`{"seq":`)
		if round%2 == 1 {
			rename(t, path, path+"."+string(rune('1'+round)))
			tail = []byte("hello\n")
		}
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(tail); err != nil || f.Close() != nil {
			t.Fatal(err)
		}
	}
}
