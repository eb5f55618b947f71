package audit

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

func TestWhatIsReadAheadComesInOrder(t *testing.T) {
	const n = 100_000 // many times what is read ahead
	var got, ended int
	prefetch(func(to *prefetcher[[]byte]) {
		defer func() { ended++ }()
		for i := range n {
			line := bytes.Repeat([]byte{'x'}, i%977)
			if !to.put(to.keep(fmt.Appendf(line, "%d", i))) {
				return
			}
			if n := cap(to.b.text); n != batchText {
				t.Errorf("the text of a batch has grown to %d bytes", n)
				return
			}
		}
	}, func(line []byte) bool {
		if want := got % 977; string(bytes.TrimLeft(line, "x")) != fmt.Sprint(got) || bytes.Count(line, []byte{'x'}) != want {
			t.Fatalf("item %d is %.40q", got, line)
		}
		got++
		return true
	})
	if got != n || ended != 1 {
		t.Errorf("%d items, want %d; the reader ended %d times", got, n, ended)
	}
}

func TestReadingAheadEndsWithItsReader(t *testing.T) {
	for _, most := range []int{0, 1, batchItems, 5 * batchItems} {
		put, got := 0, 0
		prefetch(func(to *prefetcher[int]) {
			for to.put(put) {
				put++
			}
		}, func(int) bool { got++; return got <= most })
		// put is safe to read: ahead has waited for its goroutine.
		if got != most+1 || put < got-1 || put > got+(batches+1)*batchItems {
			t.Errorf("%d wanted, %d used, %d read", most, got, put)
		}
	}
}

func TestTimesAreReadAsTimeParseDoes(t *testing.T) {
	for _, text := range []string{
		"2026-11-20T19:00:00.123456789Z", "0000-01-01T00:00:00.000000000Z", "9999-12-31T23:59:59.999999999Z", "2024-02-29T00:00:00.000000000Z",
		"2026-02-29T00:00:00.000000000Z", "2026-11-31T00:00:00.000000000Z", "2026-00-10T00:00:00.000000000Z", "2026-13-10T00:00:00.000000000Z",
		"2026-11-00T00:00:00.000000000Z", "2026-11-20T24:00:00.000000000Z", "2026-11-20T19:60:00.000000000Z", "2026-11-20T19:00:60.000000000Z",
		"2026-11-20 19:00:00.123456789Z", "2026-11-20T19:00:00.12345678xZ", "2026-11-20T19:00:00,123456789Z", "2026-11-20T19:00:00.123456789z",
		"+026-11-20T19:00:00.123456789Z", "2026-11-20T19:00:00.1234567890", "", "2026-11-20T19:00:00.123456789ZZ",
	} {
		want, err := time.Parse(timeLayout, text)
		got, ok := parseTime([]byte(text))
		// time.Parse takes a comma before a fraction; a line has one spelling.
		if comma := len(text) > 19 && text[19] == ','; ok != (err == nil && !comma) || ok && !got.Equal(want) {
			t.Errorf("%q is %v, %v; time.Parse says %v, %v", text, got, ok, want, err)
		}
	}
}
