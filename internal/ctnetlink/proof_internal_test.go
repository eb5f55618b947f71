package ctnetlink

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
)

// walkBy sweeps by a pick of the test, with nothing known of the kernel.
func walkBy(t *testing.T, ns *netns.NS, prove proof, pick visitFunc) (Swept, error) {
	t.Helper()
	reader, err := Dial(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	changer, err := startChanger(t.Context(), ns, Unknown, prove)
	if err != nil {
		t.Fatal(err)
	}
	return Sweep{NS: ns, Limit: 10_000}.walk(t.Context(), reader, changer, pick)
}

// An id less by one makes the wrong id of the proof the right one: to this
// code the kernel then looks like one that does not compare ids. One entry is
// deleted, of those that were chosen, and no other.
func TestSweepEndsWhenTheKernelIgnoresTheID(t *testing.T) {
	const n = 1000
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, n, cttest.Unreplied())
	swept, err := walkBy(t, ns, proveDelete, func(b *batch, _ *conntrack.Entry, k *Key) (bool, error) {
		k.id--
		return true, b.delete(k)
	})
	if !errors.Is(err, errors.ErrUnsupported) || swept.Proven != No || swept.Change != (Change{Done: 1}) {
		t.Errorf("%+v, %v", swept, err)
	}
	if got := cttest.Count(t, ns); got != n-1 {
		t.Errorf("%d entries are left, want %d", got, n-1)
	}
}

// An entry that is gone, or another by now, proves nothing: the next one must.
func TestSweepContinuesUntilAnEntryProvesTheFeature(t *testing.T) {
	const n, other = 500, 200
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, n, cttest.Unreplied())
	seen := 0
	swept, err := walkBy(t, ns, proveDelete, func(b *batch, _ *conntrack.Entry, k *Key) (bool, error) {
		if seen++; seen <= other {
			k.id += 1000
		}
		return true, b.delete(k)
	})
	if err != nil || swept.Proven != Yes || swept.Change != (Change{Done: n - other, Gone: other}) {
		t.Errorf("%+v, %v", swept, err)
	}
	swept, err = walkBy(t, ns, proveDelete, func(b *batch, _ *conntrack.Entry, k *Key) (bool, error) {
		k.id += 1000
		return true, b.delete(k)
	})
	if err != nil || swept.Proven != Unknown || swept.Change != (Change{Gone: other}) {
		t.Errorf("nothing was deleted, and yet: %+v, %v", swept, err)
	}
}

func TestSweepRefusesAnUnsupportedChange(t *testing.T) {
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, 10, cttest.Unreplied())
	s := Sweep{NS: ns, Limit: 10, Query: Query{Features: Features{DeleteByID: No, UpdateTimeout: No}}}
	swept, err := s.Delete(t.Context(), func(*conntrack.Entry) bool { return true })
	if !errors.Is(err, errors.ErrUnsupported) || swept.Chosen != 0 || swept.Proven != No {
		t.Errorf("delete: %+v, %v", swept, err)
	}
	swept, err = s.Age(t.Context(), func(*conntrack.Entry) (uint32, bool) { return 1, true })
	if !errors.Is(err, errors.ErrUnsupported) || swept.Chosen != 0 || swept.Proven != No {
		t.Errorf("age: %+v, %v", swept, err)
	}
	if got := cttest.Count(t, ns); got != 10 {
		t.Errorf("%d entries are left", got)
	}
}

func TestCheckUpdate(t *testing.T) {
	for _, c := range []struct {
		before, asked, after uint32
		want                 Support
		stands               bool
	}{
		{before: 600, asked: 30, after: 30, want: Yes},
		{before: 600, asked: 30, after: 29, want: Yes},
		{before: 35, asked: 30, after: 30, want: Yes},
		{before: 34, asked: 30, after: 30, want: Unknown}, // it may have waited for that
		{before: 600, asked: 30, after: 600, want: Unknown, stands: true},
		{before: 600, asked: 30, after: 31, want: Unknown, stands: true},
	} {
		got, err := checkUpdate(c.before, c.asked, c.after)
		if got != c.want || (err != nil) != c.stands {
			t.Errorf("%d s, asked for %d, then %d: %v, %v", c.before, c.asked, c.after, got, err)
		}
	}
}

func TestProveUpdate(t *testing.T) {
	ns := cttest.NewNS(t)
	e := cttest.Unreplied()
	e.Timeout = 600
	cttest.Fill(t, ns, 1, e)
	c, err := Dial(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var key Key
	if _, err := c.Dump(t.Context(), Query{}, func(_ *conntrack.Entry, k *Key) bool {
		key = *k
		key.tuple = append([]byte(nil), k.tuple...)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	ask := func(seconds uint32) *batch {
		b := newBatch()
		if err := b.update(&key, seconds); err != nil {
			t.Fatal(err)
		}
		return b
	}
	got, err := c.get(t.Context(), ask(1))
	if err != nil || got.Timeout < 590 || got.ID != key.id {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, step := range []struct {
		seconds uint32
		want    Support
		done    uint64
	}{
		{598, Unknown, 1}, // hardly less than before
		{100, Yes, 1},
		{99, Unknown, 1},
		{50, Yes, 1},
	} {
		change, known, err := proveUpdate(t.Context(), c, ask(step.seconds))
		if err != nil || known != step.want || change.Done != step.done || change.Failed != 0 {
			t.Errorf("%d s: %+v, %v, %v", step.seconds, change, known, err)
		}
	}
	if got, err = c.get(t.Context(), ask(1)); err != nil || got.Timeout > 50 || got.Timeout < 40 {
		t.Errorf("%+v, %v", got, err)
	}
	deleted := newBatch()
	if err := deleted.delete(&key); err != nil {
		t.Fatal(err)
	}
	if change, known, err := proveDelete(t.Context(), c, deleted); err != nil || known != Yes || change.Done != 1 {
		t.Fatalf("%+v, %v, %v", change, known, err)
	}
	if change, known, err := proveUpdate(t.Context(), c, ask(10)); err != nil || known != Unknown || change != (Change{Gone: 1}) {
		t.Errorf("an entry that is gone: %+v, %v, %v", change, known, err)
	}
}

// What happens to an entry between its change and the second look: it ends, or
// a packet gives it its time back. Neither shows anything.
func TestProveUpdateOfABusyEntry(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(t *testing.T, s Sweep)
		want      Change
	}{
		"it ends": {func(t *testing.T, s Sweep) {
			if _, err := s.Delete(t.Context(), func(*conntrack.Entry) bool { return true }); err != nil {
				t.Error(err)
			}
		}, Change{Done: 1}},
		"a packet comes": {func(t *testing.T, s Sweep) {
			longer := cttest.Unreplied()
			longer.Timeout = 600
			cttest.Refill(t, s.NS, 1, longer)
		}, Change{Failed: 1}},
	} {
		ns := cttest.NewNS(t)
		conn, b := changeOfOne(t, ns, func(b *batch, k *Key) error { return b.update(k, 10) })
		write, asked := conn.write, 0
		conn.write = func(fd uintptr) bool {
			if asked++; asked == 3 { // a look, the change, a look
				c.meanwhile(t, Sweep{NS: ns, Limit: 1})
			}
			return write(fd)
		}
		change, known, err := proveUpdate(t.Context(), conn, b)
		failed := change.First
		change.First = nil
		if err != nil || known != Unknown || change != c.want || (failed != nil) != (change.Failed != 0) {
			t.Errorf("%s: %+v, %v, %v, %v", name, change, failed, known, err)
		}
		conn.read = func(uintptr) bool { conn.n, conn.err = 0, unix.ENOBUFS; return true }
		if _, err := conn.get(t.Context(), b); !errors.Is(err, unix.ENOBUFS) {
			t.Errorf("%s: an answer that is lost: %v", name, err)
		}
	}
}

// A change that the kernel refuses shows nothing, and nothing is tried after it.
func TestProofThatTheKernelRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		prove proof
		add   func(b *batch, k *Key) error
		at    int // which answer is the refusal
	}{
		"delete": {proveDelete, func(b *batch, k *Key) error { return b.delete(k) }, 1},
		"update": {proveUpdate, func(b *batch, k *Key) error { return b.update(k, 10) }, 2},
	} {
		ns := cttest.NewNS(t)
		conn, b := changeOfOne(t, ns, c.add)
		read, answers := conn.read, 0
		conn.read = func(fd uintptr) bool {
			done := read(fd)
			if !done {
				return false
			}
			if answers++; answers == c.at {
				busy := -int32(unix.EBUSY)
				binary.NativeEndian.PutUint32(conn.buf[messageHeader:], uint32(busy))
			}
			return true
		}
		change, known, err := c.prove(t.Context(), conn, b)
		refused := change.First
		change.First = nil
		if err != nil || known != Unknown || change != (Change{Failed: 1}) || !errors.Is(refused, unix.EBUSY) {
			t.Errorf("%s: %+v, %v, %v, %v", name, change, refused, known, err)
		}
		if answers != c.at || cttest.Count(t, ns) != 1 {
			t.Errorf("%s: %d answers, %d entries are left", name, answers, cttest.Count(t, ns))
		}
	}
}

// changeOfOne fills a table with one entry, and returns the batch that changes it.
func changeOfOne(t *testing.T, ns *netns.NS, add func(*batch, *Key) error) (*Conn, *batch) {
	t.Helper()
	cttest.Fill(t, ns, 1, cttest.Unreplied())
	conn, err := Dial(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	b := newBatch()
	if _, err := conn.Dump(t.Context(), Query{}, func(_ *conntrack.Entry, k *Key) bool { return add(b, k) == nil }); err != nil || b.n != 1 {
		t.Fatalf("%d entries, %v", b.n, err)
	}
	return conn, b
}
