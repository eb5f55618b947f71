package audit_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/audit/verify"
)

// TestDamageToAPackedSegmentIsNamed: what stands before the damage and in the
// other segments is read, and the records that are missing are named.
func TestDamageToAPackedSegmentIsNamed(t *testing.T) {
	// packed is the first five of nine records, stored as they are.
	const head = 10 + 5 // of gzip, and of the first block
	tests := []struct {
		name   string
		damage func(packed []byte, lines [][]byte) []byte
		want   []string
		chain  string
	}{
		{"none", func(b []byte, _ [][]byte) []byte { return b }, nil, "1 2 3 4 5 6 7 8 9"},
		{"cut within record 4", func(b []byte, l [][]byte) []byte {
			return b[:head+3+len(l[0])+len(l[1])+len(l[2])+20]
		}, []string{"damaged 4", "removed 4-5"}, "1 2 3 !4 6 7 8 9"},
		{"a byte of record 2 flipped", func(b []byte, l [][]byte) []byte {
			b[head+1+len(l[0])+bytes.Index(l[1], []byte(`entries":`))+9] ^= 1
			return b
		}, []string{"altered 2", "damaged 5"}, "1 2 3 4 5 !6 6 7 8 9"},
		{"its checksum flipped", func(b []byte, _ [][]byte) []byte { b[len(b)-6] ^= 1; return b }, []string{"damaged 5"}, "1 2 3 4 5 !6 6 7 8 9"},
		{"emptied", func([]byte, [][]byte) []byte { return nil }, []string{"damaged 1", "removed 1-5"}, "6 7 8 9 !1"},
		{"text in its place", func([]byte, [][]byte) []byte { return []byte("hello, I am no archive\n") }, []string{"damaged 1", "removed 1-5"}, "6 7 8 9 !1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, lines, _ := nineLines(t)
			var b bytes.Buffer
			z, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
			if err != nil {
				t.Fatal(err)
			}
			_, err = z.Write(append(bytes.Join(lines[:5], []byte("\n")), '\n'))
			if err := errors.Join(err, z.Close()); err != nil {
				t.Fatal(err)
			}
			write(t, path+".1.gz", tt.damage(b.Bytes(), lines))
			write(t, path, append(bytes.Join(lines[5:], []byte("\n")), '\n'))
			wantProblems(t, path, verify.Verifier{}, tt.want...)
			if got := readings(t, path); got != tt.chain {
				t.Errorf("read %q, want %q", got, tt.chain)
			}
		})
	}
}

// readings names the records of a log as they are read, and "!" with the line
// for what is none.
func readings(t *testing.T, path string) string {
	t.Helper()
	var got []string
	for r, err := range audit.Read(t.Context(), path, audit.Filter{}) {
		var damaged *audit.LineError
		switch {
		case errors.As(err, &damaged):
			got = append(got, "!"+strconv.Itoa(damaged.Line))
		case err != nil:
			t.Fatal(err)
		default:
			got = append(got, strconv.FormatUint(r.Seq, 10))
		}
	}
	return strings.Join(got, " ")
}
