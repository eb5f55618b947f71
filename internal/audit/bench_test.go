package audit_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/audit/verify"
	"github.com/ctwarden/ctwarden/internal/record"
)

func benchmarkAppend(b *testing.B, sync func(*os.File) error) {
	l := newLog(b, audit.Options{SegmentSize: 64 << 20})
	l.SetSync(sync)
	payload := map[string]any{"level": "high", "entries": 250000, "max": 262144, "note": strings.Repeat("x", 300)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Append(raw(record.KindSample, payload)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B)       { benchmarkAppend(b, (*os.File).Sync) }
func BenchmarkAppendNoSync(b *testing.B) { benchmarkAppend(b, func(*os.File) error { return nil }) }

// largeLog writes a sound log of about size bytes without syncing.
func largeLog(b *testing.B, size int64) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "audit.jsonl")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	inner := []byte(`"entries":250000,"max":262144,"level":"high","incident":"20261120-1","note":"` + strings.Repeat("x", 100) + `"`)
	var head audit.Checkpoint
	var buf bytes.Buffer
	for written := int64(0); written < size; {
		kind := record.KindSample
		if head.Seq%50 == 0 {
			kind = record.KindPlan
		}
		r, err := audit.Seal(head, epoch.Add(time.Duration(head.Seq)*time.Second), kind, inner)
		if err != nil {
			b.Fatal(err)
		}
		head = r.Checkpoint()
		buf.Write(r.Line())
		buf.WriteByte('\n')
		if written += int64(len(r.Line())) + 1; buf.Len() > 1<<20 || written >= size {
			if _, err := buf.WriteTo(f); err != nil {
				b.Fatal(err)
			}
		}
	}
	return path
}

// largeSize is 64 MiB, or CTWARDEN_AUDIT_BENCH_MIB.
func largeSize(b *testing.B) int64 {
	size := int64(64)
	if s := os.Getenv("CTWARDEN_AUDIT_BENCH_MIB"); s != "" {
		if _, err := fmt.Sscan(s, &size); err != nil {
			b.Fatal(err)
		}
	}
	return size << 20
}

func benchmarkRead(b *testing.B, f audit.Filter, want bool) {
	size := largeSize(b)
	path := largeLog(b, size)
	b.SetBytes(size)
	for b.Loop() {
		n := 0
		for _, err := range audit.Read(b.Context(), path, f) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if (n > 0) != want {
			b.Fatalf("%d records", n)
		}
	}
	reportRSS(b)
}

func BenchmarkReadAll(b *testing.B) { benchmarkRead(b, audit.Filter{}, true) }
func BenchmarkReadKind(b *testing.B) {
	benchmarkRead(b, audit.Filter{Kinds: []record.Kind{record.KindPlan}}, true)
}
func BenchmarkReadIncident(b *testing.B) {
	benchmarkRead(b, audit.Filter{Incident: "20261120-1", Kinds: []record.Kind{record.KindPlan}}, true)
}
func BenchmarkReadSince(b *testing.B) {
	benchmarkRead(b, audit.Filter{Since: epoch.AddDate(100, 0, 0)}, false)
}

func BenchmarkVerify(b *testing.B) {
	size := largeSize(b)
	path := largeLog(b, size)
	b.SetBytes(size)
	for b.Loop() {
		r, err := verify.Verifier{}.Verify(b.Context(), path)
		if err != nil || !r.OK() {
			b.Fatal(r.Problems, err)
		}
	}
	reportRSS(b)
}

// reportRSS reports the peak of this process so far.
func reportRSS(b *testing.B) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(u.Maxrss)/1024, "peak-RSS-MiB")
}
