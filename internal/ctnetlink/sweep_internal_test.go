package ctnetlink

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
)

// The socket of the changing side breaks: the sweep must end, say so, and
// count nothing as done that was not acknowledged.
func TestSweepEndsWhenItCannotChange(t *testing.T) {
	const n = 5000
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, n, cttest.Unreplied())
	for name, chosen := range map[string]int{"with every batch full": n, "with one batch only": 1} {
		reader, err := Dial(ns)
		if err != nil {
			t.Fatal(err)
		}
		changer, err := startChanger(t.Context(), ns, Yes, proveDelete)
		if err != nil {
			t.Fatal(err)
		}
		if err := changer.conn.Close(); err != nil {
			t.Fatal(err)
		}
		seen := 0
		swept, err := Sweep{NS: ns, Limit: n}.walk(t.Context(), reader, changer, func(b *batch, e *conntrack.Entry, k *Key) (bool, error) {
			if seen++; seen > chosen {
				return false, nil
			}
			return true, b.delete(k)
		})
		if !errors.Is(err, os.ErrClosed) || swept.Change != (Change{}) {
			t.Errorf("%s: %+v, %v", name, swept, err)
		}
		if swept.Dump.Seen == n {
			t.Errorf("%s: the dump went on to the end", name)
		}
	}
	if got := cttest.Count(t, ns); got != n {
		t.Errorf("%d entries are left, want %d", got, n)
	}
}

// A batch that fills slowly is handed over at the end of a datagram, and the
// entries in it do not grow old.
func TestSweepSendsAPartialBatchWhenIdle(t *testing.T) {
	const n = 3000
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, n, cttest.Unreplied())
	reader, err := Dial(ns)
	if err != nil {
		t.Fatal(err)
	}
	changer, err := startChanger(t.Context(), ns, Yes, proveDelete)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	seen, largest := 0, 0
	swept, err := Sweep{NS: ns, Limit: n}.walk(t.Context(), reader, changer, func(b *batch, _ *conntrack.Entry, k *Key) (bool, error) {
		largest = max(largest, b.n)
		if seen++; seen%100 != 0 {
			return false, nil
		}
		return true, b.delete(k)
	})
	if err != nil || swept.Done != n/100 {
		t.Fatalf("%+v, %v", swept, err)
	}
	if largest >= n/100-1 {
		t.Errorf("%d chosen entries waited in one batch", largest)
	}
}

func TestQueryFiltersInTheKernelOnlyWhenProven(t *testing.T) {
	for support, want := range map[Support]bool{Unknown: false, No: false, Yes: true} {
		q := Query{StatusMask: conntrack.StatusSeenReply, Features: Features{StatusFilter: support}}
		attrs := q.request()[messageHeader+netfilterBytes:]
		asks := findAttribute(attrs, ctaStatus) != nil && findAttribute(attrs, ctaStatusMask) != nil
		if asks != want || !want && len(attrs) != 0 {
			t.Errorf("%v: asks %v with %x", support, asks, attrs)
		}
	}
	q := Query{Status: conntrack.StatusAssured, Features: Features{StatusFilter: Yes}}
	if got := q.request(); len(got) != messageHeader+netfilterBytes {
		t.Errorf("without a mask: %x", got)
	}
}

func TestDumpIgnoresAnswersToOthers(t *testing.T) {
	one := beginMessage(nil, msgNew, 0, 2)
	one = append(one, full()[netfilterBytes:]...)
	endMessage(one, 0)
	d := dump{conn: &Conn{seq: 5}, visit: func(*conntrack.Entry, *Key) bool { return true }}
	for seq, want := range map[uint32]uint64{4: 0, 5: 1} {
		d.Dumped = Dumped{}
		setSequence(one, seq)
		if done, err := d.handle(one); done || err != nil || d.Entries != want {
			t.Errorf("sequence %d: reported %d, %v, %v, want %d", seq, d.Entries, done, err, want)
		}
	}
}

// The answers to a batch are lost: what became of it is not known, and none of
// it is counted as done.
func TestApplyCountsNothingWithoutAReply(t *testing.T) {
	const n = 10
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, n, cttest.Unreplied())
	c, err := Dial(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := newBatch()
	if _, err := c.Dump(t.Context(), Query{}, func(_ *conntrack.Entry, k *Key) bool { return b.delete(k) == nil }); err != nil || b.n != n {
		t.Fatalf("%d entries, %v", b.n, err)
	}
	c.read = func(uintptr) bool { c.n, c.err = 0, unix.ENOBUFS; return true }
	if change, err := c.apply(t.Context(), b); !errors.Is(err, unix.ENOBUFS) || change != (Change{}) {
		t.Errorf("%+v, %v", change, err)
	}
}
