package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/audit/verify"
	"github.com/ctwarden/ctwarden/internal/record"
)

// seqs reads what f chooses.
func seqs(t *testing.T, path string, f audit.Filter) (got []uint64) {
	t.Helper()
	for r, err := range audit.Read(t.Context(), path, f) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r.Seq)
	}
	return got
}

func TestFilter(t *testing.T) {
	l := newLog(t, audit.Options{SegmentSize: 700})
	for i, p := range []struct {
		kind    record.Kind
		payload any
	}{
		{record.KindStart, nil},
		{record.KindIncidentOpen, map[string]any{"incident": "a\u00e4-1"}},
		{record.KindPlan, map[string]any{"incident": "a\u00e4-1", "level": "high"}},
		{record.KindPlan, map[string]any{"incident": "a\u00e4-10"}},
		{record.KindHold, map[string]any{"state": map[string]any{"incident": "a\u00e4-1"}}},
		{record.KindSignal, map[string]any{"text": `"incident":"aä-1"`}},
		{record.KindOutcome, map[string]any{"incident": 7}},
		{record.KindStop, nil},
	} {
		if _, err := l.Append(raw(p.kind, p.payload)); err != nil {
			t.Fatalf("record %d: %v", i+1, err)
		}
	}
	tests := []struct {
		name   string
		filter audit.Filter
		want   []uint64
	}{
		{"everything", audit.Filter{}, []uint64{1, 2, 3, 4, 5, 6, 7, 8}},
		{"since, which is included", audit.Filter{Since: epoch.Add(6 * time.Second)}, []uint64{6, 7, 8}},
		{"until, which is not", audit.Filter{Until: epoch.Add(3 * time.Second)}, []uint64{1, 2}},
		{"a time in another zone", audit.Filter{Since: epoch.Add(8 * time.Second).In(time.FixedZone("", 7200))}, []uint64{8}},
		{"kinds", audit.Filter{Kinds: []record.Kind{record.KindStop, record.KindPlan}}, []uint64{3, 4, 8}},
		{"behind a record", audit.Filter{After: 6}, []uint64{7, 8}},
		{"up to a record, with those of its segment behind it left out", audit.Filter{After: 1, Last: 3}, []uint64{2, 3}},
		{"an incident, by the field of the payload itself", audit.Filter{Incident: "a\u00e4-1"}, []uint64{2, 3}},
		{"an incident and a kind", audit.Filter{Incident: "a\u00e4-1", Kinds: []record.Kind{record.KindPlan}}, []uint64{3}},
		{"nothing", audit.Filter{Incident: "none"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, seqs(t, l.path, tt.filter)); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
		})
	}
	last, ok, err := audit.Last(l.path)
	if err != nil || !ok || last.Checkpoint() != l.Head() {
		t.Errorf("last %v, %v, %v", last.Seq, ok, err)
	}
}

func TestReadGoesOnBehindDamage(t *testing.T) {
	path, lines, _ := nineLines(t)
	lines[2] = []byte("\x1b[2J")
	lines[5] = bytes.Repeat([]byte("x"), 6*audit.MaxLine)
	write(t, path, append(bytes.Join(lines, []byte("\n")), "\n{\"seq\":10"...))
	var got []string
	for r, err := range audit.Read(t.Context(), path, audit.Filter{}) {
		if e := (*audit.LineError)(nil); errors.As(err, &e) {
			got = append(got, e.Error())
		} else if err != nil {
			t.Fatal(err)
		} else {
			got = append(got, fmt.Sprint(r.Seq))
		}
	}
	want := []string{
		"1", "2", "read audit.jsonl line 3: not a record", "4", "5",
		"read audit.jsonl line 6: record longer than 64 KiB", "7", "8", "9",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestReadOfNoLog(t *testing.T) {
	if got := seqs(t, filepath.Join(t.TempDir(), "audit.jsonl"), audit.Filter{}); got != nil {
		t.Errorf("records %v", got)
	}
	for _, err := range audit.Read(t.Context(), filepath.Join(t.TempDir(), "none", "audit.jsonl"), audit.Filter{}) {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v", err)
		}
	}
	if _, ok, err := audit.Last(filepath.Join(t.TempDir(), "audit.jsonl")); ok || err != nil {
		t.Errorf("last of nothing: %v, %v", ok, err)
	}
}

func TestReadStopsWhenAsked(t *testing.T) {
	l := newLog(t, audit.Options{})
	l.add(t, 3)
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	cancel(reason)
	for _, err := range audit.Read(ctx, l.path, audit.Filter{}) {
		if !errors.Is(err, reason) {
			t.Errorf("error %v", err)
		}
	}
	if _, err := (verify.Verifier{}).Verify(ctx, l.path); !errors.Is(err, reason) {
		t.Errorf("error %v", err)
	}
	for r, err := range audit.Read(t.Context(), l.path, audit.Filter{}) {
		if err != nil || r.Seq != 1 {
			t.Fatal(r.Seq, err)
		}
		break
	}
}

func TestReadIsLeftInTheMiddle(t *testing.T) {
	l := newLog(t, audit.Options{SegmentSize: 700})
	l.add(t, 9)
	var got []uint64
	for r, err := range audit.Read(t.Context(), l.path, audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, r.Seq); len(got) == 3 {
			break
		}
	}
	if diff := cmp.Diff([]uint64{1, 2, 3}, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestOtherFilesAreNoSegments(t *testing.T) {
	l := newLog(t, audit.Options{})
	l.add(t, 1)
	text := read(t, l.path)
	for _, name := range []string{
		"audit.jsonl.torn-20261120T190000.000000000Z", "audit.jsonl.foreign-1.new", "audit.jsonl.bak", "audit.jsonl~",
		"audit.jsonl.1.xz", "audit-1.jsonl", "audit-0000000000000000000x.jsonl", "audit-", "other.jsonl", "audit.jsonl.",
	} {
		write(t, filepath.Join(filepath.Dir(l.path), name), text)
	}
	if err := os.Mkdir(l.path+".7", 0o700); err != nil {
		t.Fatal(err)
	}
	if got := seqs(t, l.path, audit.Filter{}); !cmp.Equal(got, []uint64{1}) {
		t.Errorf("records %v", got)
	}
}

// follower runs Follow by hand: each tick is answered before the next.
type follower struct {
	ticks chan time.Time
	got   chan string
}

func follow(t *testing.T, path string, f audit.Filter) *follower {
	t.Helper()
	fw := &follower{ticks: make(chan time.Time), got: make(chan string, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for r, err := range audit.Follow(ctx, path, f, fw.ticks) {
			if err != nil {
				fw.got <- err.Error()
				continue
			}
			fw.got <- fmt.Sprint(r.Seq)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return fw
}

// tick lets the follower look twice: the second tick is taken only when the
// first one's records are out.
func (f *follower) tick() string {
	f.ticks <- time.Time{}
	f.ticks <- time.Time{}
	var got []string
	for {
		select {
		case s := <-f.got:
			got = append(got, s)
		default:
			return strings.Join(got, " ")
		}
	}
}

func TestFollow(t *testing.T) {
	l := newLog(t, audit.Options{})
	f := follow(t, l.path, audit.Filter{})
	want := func(when, seqs string) {
		t.Helper()
		if got := f.tick(); got != seqs {
			t.Errorf("%s: got %q, want %q", when, got, seqs)
		}
	}
	want("an empty log", "")
	l.add(t, 2)
	want("two records", "1 2")
	want("nothing new", "")
	l.opts.SegmentSize = 1
	l.reopen(t)
	l.add(t, 3)
	want("three rotations between two looks", "3 4 5")
	l.opts.SegmentSize = 0
	l.reopen(t)
	rename(t, l.path, l.path+".1")
	want("moved by logrotate, not noticed by the writer", "")
	l.add(t, 1)
	want("a new file", "6")
	write(t, l.path+".9", read(t, l.path))
	write(t, l.path, nil)
	l.add(t, 2)
	want("copytruncate", "7 8")
	l.Close()
	text := read(t, l.path)
	write(t, l.path, append(text, `{"seq":9,`...))
	want("half a line", "")
	l.reopen(t)
	l.add(t, 1)
	want("the half line healed", "9 10")
	os.Remove(l.path)
	want("no file at all", "")
	l.add(t, 1)
	want("another one", "11")
}

func TestFollowSeesWhatWasWrittenAfterTheMove(t *testing.T) {
	l := newLog(t, audit.Options{})
	l.add(t, 2)
	f := follow(t, l.path, audit.Filter{Kinds: []record.Kind{record.KindSample}, After: 1})
	if got := f.tick(); got != "2" {
		t.Errorf("got %q", got)
	}
	rename(t, l.path, l.path+".1")
	f.tick()
	// A writer that looked just before the move writes once more to the old file.
	if err := l.WriteUnchecked(epoch, record.KindSample); err != nil {
		t.Fatal(err)
	}
	l.add(t, 1)
	if got := f.tick(); got != "3 4" {
		t.Errorf("got %q, want 3 4", got)
	}
}
