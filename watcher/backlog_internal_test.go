package watcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

// scriptedReads plays records, or errors, as reads of /dev/kmsg; then EAGAIN.
func scriptedReads(steps ...any) func([]byte) (int, error) {
	return func(b []byte) (int, error) {
		if len(steps) == 0 {
			return 0, unix.EAGAIN
		}
		step := steps[0]
		steps = steps[1:]
		if err, ok := step.(error); ok {
			return 0, err
		}
		return copy(b, step.(string)), nil
	}
}

func TestScanBacklog(t *testing.T) {
	const full = "nf_conntrack: nf_conntrack: table full, dropping packet\n"
	const ms = time.Millisecond
	boot := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		name  string
		from  uint64
		steps []any
		want  Backlog
	}{
		{"an empty log", 0, nil, Backlog{}},
		{
			"lines about other things", 0, []any{"6,5,1000,-;usb\n", "6,6,2000,-;usb\n"},
			Backlog{Records: 2, Seq: 6, Last: 2 * ms, FirstNew: ms, Lost: 5},
		},
		{
			"lines that say table full", 5, []any{"4,5,1000000,-;" + full, "4,6,2500000,-;" + full + " SUBSYSTEM=net\n", "6,7,3000000,-;usb\n"},
			Backlog{
				Records: 3, Seq: 7, Last: 3000 * ms, FirstNew: 1000 * ms, TableFull: 2,
				FullFirst: boot.Add(1000 * ms), FullAt: boot.Add(2500 * ms),
			},
		},
		{
			"lines that an earlier run has read", 7, []any{"4,5,1000,-;" + full, "4,6,2000,-;" + full, "4,7,3000,-;" + full, "6,8,4000,-;usb\n"},
			Backlog{Records: 4, Seq: 8, Last: 4 * ms, FirstNew: 3 * ms, TableFull: 1, FullFirst: boot.Add(3 * ms), FullAt: boot.Add(3 * ms)},
		},
		{
			"nothing since an earlier run", 9, []any{"4,5,1000,-;" + full, "4,8,2000,-;" + full},
			Backlog{Records: 2, Seq: 8, Last: 2 * ms},
		},
		{
			"lines that were overwritten since an earlier run", 4, []any{"4,7,1000,-;" + full},
			Backlog{Records: 1, Seq: 7, Last: ms, FirstNew: ms, Lost: 3, TableFull: 1, FullFirst: boot.Add(ms), FullAt: boot.Add(ms)},
		},
		{"a line that a user wrote", 5, []any{"12,5,1000,-;" + full}, Backlog{Records: 1, Seq: 5, Last: ms, FirstNew: ms}},
		{
			"a full expectation table", 5, []any{"4,5,1000,-;nf_conntrack: expectation table full\n"},
			Backlog{Records: 1, Seq: 5, Last: ms, FirstNew: ms},
		},
		{
			"an overrun and a signal on the way", 5, []any{"6,5,1000,-;a\n", unix.EPIPE, unix.EINTR, "6,90,2000,-;b\n"},
			Backlog{Records: 2, Seq: 90, Last: 2 * ms, FirstNew: ms},
		},
		{"broken records", 0, []any{"", "x"}, Backlog{}},
		{
			"records without numbers", 5, []any{"6,5,1000,-;a\n", "a,6,1,-;b\n", "6,b,1,-;b\n", "6,6,c,-;b\n", "6,6;b\n", "6,6,1,-\n"},
			Backlog{Records: 1, Seq: 5, Last: ms, FirstNew: ms},
		},
		{
			"a moment that no clock has", 5, []any{"6,5,9223372036854775807,-;a\n", "6,6,-1,-;a\n"},
			Backlog{Records: 2, Seq: 6, FirstNew: time.Duration(maxMicros) * time.Microsecond},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := scanBacklog(scriptedReads(c.steps...), c.from, boot)
			if err != nil {
				t.Fatal(err)
			}
			c.want.From = c.from
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreUnexported(Backlog{})); diff != "" {
				t.Errorf("scanPast (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScanBacklogFails(t *testing.T) {
	got, err := scanBacklog(scriptedReads("6,5,1,-;a\n", unix.EPERM), 0, time.Time{})
	if !errors.Is(err, unix.EPERM) || got != (Backlog{}) {
		t.Errorf("scanPast = %+v, %v, want EPERM and nothing else", got, err)
	}
}

func TestScanBacklogEnds(t *testing.T) {
	n := 0
	got, err := scanBacklog(func(b []byte) (int, error) {
		n++
		return copy(b, fmt.Sprintf("6,%d,1,-;flood\n", n)), nil
	}, 0, time.Time{})
	if err != nil || got.Records != maxBacklog {
		t.Errorf("scanPast of an endless log = %+v, %v, want %d records", got, err, maxBacklog)
	}
}

func FuzzBacklogAddRecord(f *testing.F) {
	f.Add([]byte("4,5,1000000,-;nf_conntrack: table full, dropping packet\n"))
	f.Add([]byte("6,18446744073709551615,-9223372036854775808,c,caller=T1;x\n SUBSYSTEM=net\n"))
	f.Add([]byte(";;,,"))
	f.Add([]byte(strings.Repeat(",", 8192)))
	f.Fuzz(func(t *testing.T, record []byte) {
		var p Backlog
		p.addRecord(record, time.Unix(0, 0))
		if p.Records > 1 || p.TableFull > p.Records || p.FirstNew < 0 || p.Last < 0 {
			t.Errorf("one record gives %+v", p)
		}
	})
}

// TestReadLogPositionRefusesAnImpossibleSequenceNumber: the record after it would be the first of
// all, and every line that was read would be reported as missed.
func TestReadLogPositionRefusesAnImpossibleSequenceNumber(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmsg.place")
	for text, want := range map[string]uint64{
		"b00t 18446744073709551615\n": 0, "b00t 18446744073709551616\n": 0, "b00t -1\n": 0, "b00t\n": 0, " 7\n": 0,
		"other 7\n": 0, "b00t 7\n": 8, "b00t 18446744073709551614": 1<<64 - 1,
		"b00t " + strings.Repeat("0", 4<<20) + "7\n": 0,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		k := &Kmsg{PositionPath: path, Boot: "b00t"}
		from, been := k.startSeq()
		if from != want || been != (want > 0 || text == "other 7\n") {
			t.Errorf("%.40q: read from %d, been there %t; want from %d", text, from, been, want)
		}
	}
}
