package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/audit/verify"
	"github.com/ctwarden/ctwarden/internal/record"
)

var epoch = time.Date(2026, 11, 20, 19, 0, 0, 0, time.UTC)

// clock returns a clock that moves on by a second each time it is read.
func clock() func() time.Time {
	now := epoch
	return func() time.Time {
		now = now.Add(time.Second)
		return now
	}
}

// raw is a payload of any fields: a value that JSON makes an object of, or nil.
func raw(kind record.Kind, fields any) record.Payload {
	if fields == nil {
		return &record.Other{Name: kind}
	}
	text, ok := fields.(json.RawMessage)
	if !ok {
		text, _ = json.Marshal(fields)
	}
	return &record.Other{Name: kind, JSON: text}
}

type bench struct {
	*audit.Log
	path    string
	opts    audit.Options
	notices []string
}

// newLog opens a log in a directory of its own.
func newLog(t testing.TB, o audit.Options) *bench {
	t.Helper()
	b := &bench{path: filepath.Join(t.TempDir(), "audit.jsonl"), opts: o}
	b.reopen(t)
	t.Cleanup(func() { b.Log.Close() })
	return b
}

// reopen opens the log anew, as after a restart.
func (b *bench) reopen(t testing.TB) {
	t.Helper()
	if b.Log != nil {
		if err := b.Log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if b.opts.Now == nil {
		b.opts.Now = clock()
	}
	b.opts.Notice = func(err error) { b.notices = append(b.notices, err.Error()) }
	var err error
	if b.Log, err = audit.Open(b.path, b.opts); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) add(t testing.TB, n int) {
	t.Helper()
	for range n {
		if _, err := b.Append(raw(record.KindSample, map[string]any{"entries": b.Head().Seq * 1000})); err != nil {
			t.Fatal(err)
		}
	}
}

// kinds returns the chain as "1 start, 2 sample, …", gaps with their reason.
func chainOf(t testing.TB, path string) string {
	t.Helper()
	var parts []string
	for r, err := range audit.Read(context.Background(), path, audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		word := fmt.Sprintf("%d %s", r.Seq, r.Kind)
		if r.Kind == record.KindGap {
			p, err := r.Payload()
			if err != nil {
				t.Fatal(err)
			}
			g := p.(*record.Gap)
			word += " " + string(g.Reason)
			if g.Lost > 0 {
				word += fmt.Sprintf(" lost %d", g.Lost)
			}
			if g.From > 0 {
				word += fmt.Sprintf(" %d-%d", g.From, g.To)
			}
		}
		parts = append(parts, word)
	}
	return strings.Join(parts, ", ")
}

func wantChain(t testing.TB, path, want string) {
	t.Helper()
	if diff := cmp.Diff(want, chainOf(t, path)); diff != "" {
		t.Errorf("chain (-want +got):\n%s", diff)
	}
}

func wantOK(t testing.TB, path string, known ...audit.Checkpoint) verify.Result {
	t.Helper()
	r, err := verify.Verifier{Known: known}.Verify(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Problems {
		t.Errorf("problem: %v", p)
	}
	return r
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o640); err != nil {
		t.Fatal(err)
	}
}

// names lists the log's directory, with times replaced.
func dirOf(t testing.TB, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), "-2026")
		names = append(names, name)
	}
	return names
}

func TestAppendFlattensThePayload(t *testing.T) {
	l := newLog(t, audit.Options{})
	if _, err := l.Append(raw(record.KindStart, nil)); err != nil {
		t.Fatal(err)
	}
	r, err := l.Append(raw(record.KindOutcome, struct {
		OK     bool   `json:"ok"`
		Before uint64 `json:"before"`
	}{true, 7}))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(r.Line(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"seq": 2.0, "time": "2026-11-20T19:00:02.000000000Z", "kind": "outcome", "ok": true, "before": 7.0,
		"prev": r.Prev.String(), "hash": r.Hash.String(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(`{"ok":true,"before":7}`, string(r.JSON())); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
	info, err := os.Stat(l.path)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v; want 0640", info.Mode(), err)
	}
	if r := wantOK(t, l.path, l.Head()); r.Records != 2 || r.Last != l.Head() {
		t.Errorf("result %+v", r)
	}
}

func TestAppendRefusesAPayload(t *testing.T) {
	deep := map[string]any{"text": strings.Repeat("x", audit.MaxLine)}
	tests := []struct {
		name    string
		kind    record.Kind
		payload any
		want    error
	}{
		{"a list", record.KindHold, []int{1}, audit.ErrPayload},
		{"what is no JSON", record.KindHold, json.RawMessage("x"), audit.ErrPayload},
		{"an unknown kind", record.Kind("surprise"), nil, audit.ErrPayload},
		{"too long", record.KindHold, deep, audit.ErrTooLong},
	}
	l := newLog(t, audit.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := l.Append(raw(tt.kind, tt.payload)); !errors.Is(err, tt.want) || errors.Is(err, audit.ErrNotDurable) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	l.add(t, 1)
	wantChain(t, l.path, "1 sample")
}

func TestLongestRecord(t *testing.T) {
	l := newLog(t, audit.Options{})
	r, err := l.Append(raw(record.KindHold, map[string]any{"t": ""}))
	if err != nil {
		t.Fatal(err)
	}
	room := audit.MaxLine - len(r.Line()) - 1
	for _, extra := range []int{0, 1} {
		_, err := l.Append(raw(record.KindHold, map[string]any{"t": strings.Repeat("x", room+extra)}))
		if (extra == 0) != (err == nil) {
			t.Errorf("%d bytes more than fit: error %v", extra, err)
		}
	}
	l.reopen(t)
	l.add(t, 1)
	wantChain(t, l.path, "1 hold, 2 hold, 3 sample")
	wantOK(t, l.path, l.Head())
}

func TestLinesAreASCII(t *testing.T) {
	const hostile = "\x1b]0;owned\x07\r\n\x00\x7f\u0085\u2028\u202e<b>\U0001f525\xff\"\\"
	l := newLog(t, audit.Options{})
	r, err := l.Append(raw(record.KindSignal, map[string]any{"line": hostile, "raw": json.RawMessage("\"\xfe\u009b\"")}))
	if err != nil {
		t.Fatal(err)
	}
	if !audit.Printable(r.Line()) {
		t.Errorf("line %q", r.Line())
	}
	var got struct{ Line string }
	if err := json.Unmarshal(r.JSON(), &got); err != nil {
		t.Fatal(err)
	}
	if want := strings.ToValidUTF8(hostile, "\ufffd"); got.Line != want {
		t.Errorf("decoded %q, want %q", got.Line, want)
	}
	if text := string(r.AppendText(nil)); strings.Count(text, "\n") != 1 || strings.ContainsAny(text, "\x1b\r\x07\u202e\u2028\u0085") {
		t.Errorf("text %q", text)
	}
	wantOK(t, l.path, l.Head())
}

func TestReopenContinuesTheChain(t *testing.T) {
	l := newLog(t, audit.Options{})
	l.add(t, 3)
	l.reopen(t)
	l.add(t, 2)
	wantChain(t, l.path, "1 sample, 2 sample, 3 sample, 4 sample, 5 sample")
	wantOK(t, l.path, l.Head())
	if len(l.notices) != 0 {
		t.Errorf("notices %q", l.notices)
	}
}

func TestSecondWriterIsRefused(t *testing.T) {
	l := newLog(t, audit.Options{})
	if _, err := audit.Open(l.path, audit.Options{}); !errors.Is(err, audit.ErrInUse) {
		t.Errorf("error %v, want ErrInUse", err)
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	for name, mk := range map[string]func(string) error{
		"a directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"a FIFO":      func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"a link":      func(p string) error { return os.Symlink("/dev/null", p) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			if err := mk(path); err != nil {
				t.Fatal(err)
			}
			if _, err := audit.Open(path, audit.Options{}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := audit.Open(filepath.Join(t.TempDir(), "none", "audit.jsonl"), audit.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want ErrNotExist", err)
	}
}

func TestAppendIsSafeForConcurrentUse(t *testing.T) {
	l := newLog(t, audit.Options{SegmentSize: 4 << 10})
	l.SetSync(func(*os.File) error { return nil })
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				if _, err := l.Append(raw(record.KindSample, map[string]int{"writer": w, "i": i})); err != nil {
					t.Error(err)
				}
				l.Head()
			}
		})
	}
	wg.Wait()
	if r := wantOK(t, l.path, l.Head()); r.Records != 400 || r.Segments < 5 {
		t.Errorf("%d records in %d segments", r.Records, r.Segments)
	}
}
