package watcher

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// tape plays records, or errors, as reads of /dev/kmsg; then EAGAIN.
func tape(steps ...any) func([]byte) (int, error) {
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

func TestScanPast(t *testing.T) {
	const full = "nf_conntrack: nf_conntrack: table full, dropping packet\n"
	boot := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		name  string
		steps []any
		want  Past
	}{
		{"an empty log", nil, Past{}},
		{"lines about other things", []any{"6,5,100,-;usb\n", "6,6,100,-;usb\n"}, Past{Records: 2, Seq: 6}},
		{
			"lines that say table full", []any{"4,5,1000000,-;" + full, "4,6,2500000,-;" + full + " SUBSYSTEM=net\n", "6,7,3000000,-;usb\n"},
			Past{Records: 3, Seq: 7, TableFull: 2, FullAt: boot.Add(2500 * time.Millisecond)},
		},
		{"a line that a user wrote", []any{"12,5,1000000,-;" + full}, Past{Records: 1, Seq: 5}},
		{"a full expectation table", []any{"4,5,1000000,-;nf_conntrack: expectation table full\n"}, Past{Records: 1, Seq: 5}},
		{"an overrun and a signal on the way", []any{"6,5,1,-;a\n", unix.EPIPE, unix.EINTR, "6,90,1,-;b\n"}, Past{Records: 2, Seq: 90}},
		{"broken records", []any{"", "x"}, Past{}},
		{"records without numbers", []any{"6,5,1,-;a\n", "a,6,1,-;b\n", "6,b,1,-;b\n", "6,6,c,-;b\n", "6,6;b\n", "6,6,1,-\n"}, Past{Records: 1, Seq: 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := scanPast(tape(c.steps...), boot)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("scanPast (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScanPastFails(t *testing.T) {
	got, err := scanPast(tape("6,5,1,-;a\n", unix.EPERM), time.Time{})
	if !errors.Is(err, unix.EPERM) || got != (Past{}) {
		t.Errorf("scanPast = %+v, %v, want EPERM and nothing else", got, err)
	}
}

func TestScanPastEnds(t *testing.T) {
	n := 0
	got, err := scanPast(func(b []byte) (int, error) {
		n++
		return copy(b, fmt.Sprintf("6,%d,1,-;flood\n", n)), nil
	}, time.Time{})
	if err != nil || got.Records != maxPast {
		t.Errorf("scanPast of an endless log = %+v, %v, want %d records", got, err, maxPast)
	}
}

func FuzzPastAdd(f *testing.F) {
	f.Add([]byte("4,5,1000000,-;nf_conntrack: table full, dropping packet\n"))
	f.Add([]byte("6,18446744073709551615,-9223372036854775808,c,caller=T1;x\n SUBSYSTEM=net\n"))
	f.Add([]byte(";;,,"))
	f.Add([]byte(strings.Repeat(",", 8192)))
	f.Fuzz(func(t *testing.T, record []byte) {
		var p Past
		p.add(record, time.Unix(0, 0))
		if p.Records > 1 || p.TableFull > p.Records {
			t.Errorf("one record gives %+v", p)
		}
	})
}
