package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/audit/verify"
	"github.com/ctwarden/ctwarden/internal/record"
)

// wantProblems compares the problems as "kind seq" or "kind seq-to".
func wantProblems(t testing.TB, path string, v verify.Verifier, want ...string) {
	t.Helper()
	r, err := v.Verify(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range r.Problems {
		s := fmt.Sprintf("%s %d", p.Kind, p.Seq)
		if p.To > p.Seq {
			s += fmt.Sprintf("-%d", p.To)
		}
		got = append(got, s)
		if p.Text == "" || strings.Contains(p.String(), "\n") {
			t.Errorf("problem %+v", p)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// forge makes the records from line i on anew, with sound hashes, after
// change was done to line i's text.
func forge(lines [][]byte, i, n int, change func([]byte) []byte) [][]byte {
	out := slices.Clone(lines)
	for k := i; k < n; k++ {
		r, _ := audit.Parse(lines[k])
		inner := bytes.Clone(r.Inner())
		if k == i {
			inner = change(inner)
		}
		prev := audit.Checkpoint{Seq: r.Seq - 1}
		if k > 0 {
			before, _ := audit.Parse(out[k-1])
			prev.Hash = before.Hash
		}
		forged, _ := audit.Seal(prev, r.Time, r.Kind, inner)
		out[k] = forged.Line()
	}
	return out
}

func double(b []byte) []byte { return bytes.Replace(b, []byte("000"), []byte("999"), 1) }

// nineLines is an untouched log of nine records.
func nineLines(t testing.TB) (path string, lines [][]byte, checkpoints []audit.Checkpoint) {
	t.Helper()
	l := newLog(t, audit.Options{})
	l.add(t, 1)
	for range 8 {
		if _, err := l.Append(raw(record.KindSample, map[string]int{"entries": 1000})); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	lines = bytes.Split(bytes.TrimSuffix(read(t, l.path), []byte("\n")), []byte("\n"))
	for _, line := range lines {
		r, err := audit.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		checkpoints = append(checkpoints, r.Checkpoint())
	}
	return l.path, lines, checkpoints
}

func TestTampering(t *testing.T) {
	flip := func(i int, at string) func([][]byte) [][]byte {
		return func(l [][]byte) [][]byte {
			l[i] = bytes.Clone(l[i])
			l[i][bytes.Index(l[i], []byte(at))+len(at)] ^= 1
			return l
		}
	}
	del := func(i, j int) func([][]byte) [][]byte {
		return func(l [][]byte) [][]byte { return slices.Delete(l, i, j) }
	}
	insert := func(i int, f func([][]byte) []byte) func([][]byte) [][]byte {
		return func(l [][]byte) [][]byte { return slices.Insert(l, i, f(l)) }
	}
	swap := func(i, j int) func([][]byte) [][]byte {
		return func(l [][]byte) [][]byte { l[i], l[j] = l[j], l[i]; return l }
	}
	tests := []struct {
		name   string
		tamper func([][]byte) [][]byte
		known  []int // which checkpoints, by index
		want   []string
	}{
		{"nothing", func(l [][]byte) [][]byte { return l }, []int{0, 8}, nil},
		{"a byte of the payload flipped", flip(3, `"entries":`), nil, []string{"altered 4"}},
		{"a byte of the first record flipped", flip(0, `"entries":`), nil, []string{"altered 1"}},
		{"a byte of the last record flipped", flip(8, `"entries":`), nil, []string{"altered 9"}},
		{"a byte of the sequence number flipped", flip(3, `"seq":`), nil, []string{"altered 4"}},
		{"a byte of the time flipped", flip(3, `"time":"2`), nil, []string{"altered 4"}},
		{"a byte of the kind flipped", flip(3, `"kind":"`), nil, []string{"altered 4"}},
		{"a byte of prev flipped", flip(3, `"prev":"`), nil, []string{"altered 4"}},
		{"a byte of the hash flipped", flip(3, `"hash":"`), nil, []string{"altered 4"}},
		{"the syntax broken", flip(3, `"hash`), nil, []string{"altered 4"}},
		{"two adjacent records flipped", func(l [][]byte) [][]byte { return flip(4, `"entries":`)(flip(3, `"entries":`)(l)) }, nil, []string{"altered 4", "altered 5"}},
		{"one altered and its hash computed again", func(l [][]byte) [][]byte { return forge(l, 3, 4, double) }, nil, []string{"altered 4"}},
		{"three written anew, the rest not", func(l [][]byte) [][]byte { return forge(l, 3, 6, double) }, nil, []string{"altered 6"}},
		{"a line dropped", del(3, 4), nil, []string{"removed 4"}},
		{"three lines dropped", del(3, 6), nil, []string{"removed 4-6"}},
		{"the first line dropped", del(0, 1), nil, []string{"removed 1"}},
		{"the tail cut", del(6, 9), []int{8}, []string{"removed 7-9"}},
		{"the tail cut, and nothing known", del(6, 9), nil, nil},
		{"everything dropped", del(0, 9), []int{8}, []string{"removed 1-9"}},
		{"two adjacent records swapped", swap(3, 4), nil, []string{"reordered 5"}},
		{"the first two swapped", swap(0, 1), nil, []string{"reordered 2"}},
		{"the last two swapped", swap(7, 8), nil, []string{"reordered 9"}},
		{"two distant ones swapped", swap(2, 6), nil, []string{"reordered 3", "reordered 7"}},
		{"a line moved to the front", func(l [][]byte) [][]byte { x := l[6]; return slices.Insert(slices.Delete(l, 6, 7), 2, x) }, []int{8}, []string{"reordered 7"}},
		{"a line moved back", func(l [][]byte) [][]byte { x := l[2]; return slices.Insert(slices.Delete(l, 2, 3), 6, x) }, []int{8}, []string{"reordered 3"}},
		{"a line of rubbish inserted", insert(3, func([][]byte) []byte { return []byte("hello") }), nil, []string{"inserted 4"}},
		{"an empty line inserted", insert(3, func([][]byte) []byte { return nil }), nil, []string{"inserted 4"}},
		{"a copy of the line before inserted", insert(4, func(l [][]byte) []byte { return l[3] }), nil, []string{"inserted 4"}},
		{"a copy of an early line inserted", insert(7, func(l [][]byte) []byte { return l[1] }), nil, []string{"inserted 2"}},
		{"a copy of a later line inserted", insert(2, func(l [][]byte) []byte { return l[7] }), nil, []string{"inserted 8"}},
		{"a forged record inserted before the real one", insert(3, func(l [][]byte) []byte { return forge(l, 3, 4, double)[3] }), nil, []string{"inserted 4"}},
		{"a forged record inserted behind the real one", insert(4, func(l [][]byte) []byte { return forge(l, 3, 4, double)[3] }), nil, []string{"inserted 4"}},
		{"written anew from the middle", func(l [][]byte) [][]byte { return forge(l, 4, 9, double) }, []int{2, 8}, []string{"rewritten 9"}},
		{"the same with more known", func(l [][]byte) [][]byte { return forge(l, 4, 9, double) }, []int{1, 3, 4, 5, 8}, []string{"rewritten 5"}},
		{"written anew, and nothing known", func(l [][]byte) [][]byte { return forge(l, 4, 9, double) }, []int{2}, nil},
		{"an over-long line", insert(3, func([][]byte) []byte { return bytes.Repeat([]byte("x"), 5*audit.MaxLine) }), nil, []string{"inserted 4"}},
		{"a flip and a drop", func(l [][]byte) [][]byte { return del(5, 6)(flip(2, `"entries":`)(l)) }, nil, []string{"altered 3", "removed 6"}},
		{"a flip beside a drop", func(l [][]byte) [][]byte { return del(4, 5)(flip(3, `"entries":`)(l)) }, nil, []string{"altered 4", "removed 5"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, lines, checkpoints := nineLines(t)
			var v verify.Verifier
			for _, i := range tt.known {
				v.Known = append(v.Known, checkpoints[i])
			}
			text := bytes.Join(tt.tamper(slices.Clone(lines)), []byte("\n"))
			if len(text) > 0 {
				text = append(text, '\n')
			}
			write(t, path, text)
			wantProblems(t, path, v, tt.want...)
		})
	}
}

func TestProblemsNameTheLine(t *testing.T) {
	path, lines, _ := nineLines(t)
	lines[4][40] ^= 1
	write(t, path, append(bytes.Join(lines, []byte("\n")), '\n'))
	r, err := verify.Verifier{}.Verify(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"record 5 altered (audit.jsonl line 5): hash does not match the text"}
	if diff := cmp.Diff(want, []string{r.Problems[0].String()}); diff != "" {
		t.Errorf("problem (-want +got):\n%s", diff)
	}
}

func TestTornTailIsNamed(t *testing.T) {
	path, lines, checkpoints := nineLines(t)
	write(t, path, bytes.Join(lines, []byte("\n")))
	wantProblems(t, path, verify.Verifier{Known: checkpoints[8:]}, "torn 9", "removed 9")
}

func TestDeletedSegments(t *testing.T) {
	tests := []struct {
		name   string
		delete int
		want   string
	}{
		{"the first", 0, "removed 1"},
		{"one in the middle", 3, "removed 4"},
		{"the last", 8, "removed 9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t, audit.Options{SegmentSize: 1})
			l.add(t, 9)
			segments, err := audit.SegmentsOf(l.path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(filepath.Dir(l.path), segments[tt.delete].File)); err != nil {
				t.Fatal(err)
			}
			wantProblems(t, l.path, verify.Verifier{Known: []audit.Checkpoint{l.Head()}}, tt.want)
		})
	}
}

func TestRedecide(t *testing.T) {
	path, _, _ := nineLines(t)
	calls := 0
	v := verify.Verifier{Redecide: func(r audit.Record) error {
		if calls++; r.Seq == 5 {
			return errors.New("decided otherwise")
		}
		return nil
	}}
	wantProblems(t, path, v, "disputed 5")
	if calls != 9 {
		t.Errorf("%d calls, want 9", calls)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	path, lines, _ := nineLines(t)
	write(t, path, append(bytes.Join(append(lines, slices.Repeat(lines, 5)...), []byte("\n")), '\n'))
	r, err := verify.Verifier{MaxProblems: 7}.Verify(t.Context(), path)
	if err != nil || len(r.Problems) != 7 || r.More != 38 || r.OK() {
		t.Errorf("%d problems and %d more, %v", len(r.Problems), r.More, err)
	}
}

// verifyBytes checks that whatever is done to a log is noticed, as long as
// its head is known.
func verifyBytes(t *testing.T, original, changed []byte, head audit.Checkpoint) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	write(t, path, changed)
	r, err := verify.Verifier{Known: []audit.Checkpoint{head}}.Verify(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	if r.OK() != bytes.Equal(original, changed) {
		t.Errorf("OK %v for\n%q", r.OK(), changed)
	}
	for _, err := range audit.Read(context.Background(), path, audit.Filter{}) {
		if e := (*audit.LineError)(nil); err != nil && !errors.As(err, &e) {
			t.Error(err)
		}
	}
	l, err := audit.Open(path, audit.Options{Now: clock()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Append(raw(record.KindStart, nil)); err != nil {
		t.Fatal(err)
	}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	l := newLog(t, audit.Options{})
	l.add(t, 3)
	l.Close()
	text := read(t, l.path)
	step := 1
	if testing.Short() {
		step = 11 // odd, so that each of the eight bits is flipped somewhere
	}
	for i := 0; i < len(text); i += step {
		changed := bytes.Clone(text)
		changed[i] ^= 1 << (i % 8)
		verifyBytes(t, text, changed, l.Head())
	}
}

// FuzzVerify takes its input as edits of a sound log: position, bytes to
// delete, and what to put there.
func FuzzVerify(f *testing.F) {
	l := newLog(f, audit.Options{})
	l.add(f, 4)
	l.Close()
	text := read(f, l.path)
	f.Add(uint16(0), uint16(0), []byte{})
	f.Add(uint16(260), uint16(258), []byte("{\"seq\":2"))
	f.Add(uint16(0), uint16(258), []byte{})
	f.Add(uint16(len(text)), uint16(0), text[:300])
	f.Add(uint16(700), uint16(9000), []byte("\n\n"))
	f.Fuzz(func(t *testing.T, at, cut uint16, put []byte) {
		i := min(int(at), len(text))
		j := min(i+int(cut), len(text))
		changed := slices.Concat(text[:i], put, text[j:])
		verifyBytes(t, text, changed, l.Head())
	})
}

func FuzzParse(f *testing.F) {
	r, err := audit.Seal(audit.Checkpoint{}, epoch, record.KindStart, []byte(`"a":1`))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.Line())
	f.Add([]byte(`{"seq":1,"time":"2026-11-20T19:00:02.000000000Z","kind":"x"`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := audit.Parse(line)
		if err != nil || r.Check() != nil {
			return
		}
		again, err := audit.Seal(audit.Checkpoint{Seq: r.Seq - 1, Hash: r.Prev}, r.Time, r.Kind, r.Inner())
		if err != nil || !bytes.Equal(again.Line(), line) {
			t.Errorf("sealed again: %v\n%s\n%s", err, line, again.Line())
		}
		r.Sentence()
	})
}
