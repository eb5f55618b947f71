package ctnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"
)

func testKey() *Key {
	return &Key{tuple: tuple4(ctaTupleOrig), family: 2, zone: 7, id: 0x01020304, hasID: true}
}

// checkDelete reads a batch with another library's decoder and fails unless
// each message is the deletion of the one entry of k.
func checkDelete(t *testing.T, b *batch, k *Key) {
	t.Helper()
	if err := b.check(); err != nil {
		t.Fatal(err)
	}
	for i := range b.n {
		raw := b.message(i)
		m := netlink.Message{Data: raw[messageHeader:]}
		m.Header.Type = netlink.HeaderType(binary.NativeEndian.Uint16(raw[4:]))
		m.Header.Flags = netlink.HeaderFlags(binary.NativeEndian.Uint16(raw[6:]))
		if int(binary.NativeEndian.Uint32(raw)) != len(raw) || len(raw)%4 != 0 {
			t.Fatalf("message %d says %d of %d bytes", i, binary.NativeEndian.Uint32(raw), len(raw))
		}
		header, decoder, err := netfilter.DecodeNetlink(m)
		if err != nil {
			t.Fatal(err)
		}
		if header.SubsystemID != netfilter.NFSubsysCTNetlink || header.MessageType != msgDelete ||
			header.Flags != netlink.Request || uint8(header.Family) != k.family || header.Version != 0 {
			t.Fatalf("message %d: header %v, flags %v", i, header, header.Flags)
		}
		var kinds []uint16
		for decoder.Next() {
			kinds = append(kinds, decoder.Type())
			if decoder.Type() == ctaTupleOrig && !slices.Equal(decoder.Bytes(), k.tuple[attributeHeader:]) {
				t.Fatalf("message %d: tuple %x, want %x", i, decoder.Bytes(), k.tuple)
			}
			if decoder.Type() == ctaID && decoder.Uint32() != k.id {
				t.Fatalf("message %d: id %x", i, decoder.Uint32())
			}
			if decoder.Type() == ctaZone && decoder.Uint16() != k.zone {
				t.Fatalf("message %d: zone %d", i, decoder.Uint16())
			}
		}
		want := []uint16{ctaTupleOrig, ctaZone, ctaID}
		if k.zone == 0 {
			want = []uint16{ctaTupleOrig, ctaID}
		}
		if err := decoder.Err(); err != nil || !slices.Equal(kinds, want) {
			t.Fatalf("message %d: attributes %v, %v, want %v", i, kinds, err, want)
		}
	}
}

func TestBatchDelete(t *testing.T) {
	for _, zone := range []uint16{0, 7} {
		k := testKey()
		k.zone = zone
		b := newBatch()
		for range batchMax {
			if err := b.delete(k); err != nil {
				t.Fatal(err)
			}
		}
		checkDelete(t, b, k)
		if err := b.delete(k); !errors.Is(err, ErrRefused) || b.n != batchMax {
			t.Errorf("one too many: %v, %d messages", err, b.n)
		}
		b.reset()
		if err := b.check(); b.n != 0 || err != nil {
			t.Errorf("after a reset: %d messages, %v", b.n, err)
		}
	}
}

// A delete without a whole tuple empties the table. None of these may get as
// far as the batch, let alone the socket.
func TestBatchRefusesADeleteWithoutATuple(t *testing.T) {
	ip := nest(ctaTupleIP, attr(ctaIPv4Src, 10, 0, 0, 1), attr(ctaIPv4Dst, 10, 0, 0, 2))
	proto := nest(ctaTupleProto, attr(ctaProtoNum, 17))
	long, longer := tuple4(ctaTupleOrig), tuple4(ctaTupleOrig)
	binary.NativeEndian.PutUint16(long, uint16(len(long)+1))
	binary.NativeEndian.PutUint16(longer, 0xffff)
	for name, tuple := range map[string][]byte{
		"none":                        nil,
		"empty":                       {},
		"only a header":               attr(ctaTupleOrig),
		"half a header":               {8, 0},
		"the reply's":                 tuple4(ctaTupleReply),
		"another attribute":           be32(ctaStatus, 0),
		"cut short":                   tuple4(ctaTupleOrig)[:40],
		"one byte cut off":            tuple4(ctaTupleOrig)[:len(long)-1],
		"a length one too long":       long,
		"a length far too long":       longer,
		"two of them":                 slices.Concat(tuple4(ctaTupleOrig), tuple4(ctaTupleOrig)),
		"no addresses":                nest(ctaTupleOrig, proto),
		"no protocol":                 nest(ctaTupleOrig, ip),
		"no source":                   nest(ctaTupleOrig, nest(ctaTupleIP, attr(ctaIPv4Dst, 1, 2, 3, 4)), proto),
		"no destination":              nest(ctaTupleOrig, nest(ctaTupleIP, attr(ctaIPv4Src, 1, 2, 3, 4)), proto),
		"addresses of two families":   nest(ctaTupleOrig, nest(ctaTupleIP, attr(ctaIPv4Src, 1, 2, 3, 4), attr(ctaIPv6Dst, make([]byte, 16)...)), proto),
		"a protocol without a number": nest(ctaTupleOrig, ip, nest(ctaTupleProto, attr(ctaProtoSrcPort, 0, 1))),
	} {
		k := testKey()
		k.tuple = tuple
		b := newBatch()
		for _, err := range []error{b.delete(k), b.update(k, 1)} {
			if !errors.Is(err, ErrRefused) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if b.n != 0 || len(b.buf) != 0 {
			t.Errorf("%s: left %d bytes", name, len(b.buf))
		}
	}
	k := testKey()
	k.hasID = false
	if err := newBatch().delete(k); !errors.Is(err, ErrRefused) {
		t.Errorf("without an id: %v", err)
	}
	if err := newBatch().delete(&Key{}); !errors.Is(err, ErrRefused) {
		t.Errorf("zero key: %v", err)
	}
}

// The last look before the socket: whatever was done to the bytes.
func TestApplyRefusesABrokenBatch(t *testing.T) {
	c := &Conn{} // has no socket: sending would panic
	first := messageHeader + netfilterBytes
	for name, spoil := range map[string]func(b *batch){
		"the tuple became something else": func(b *batch) { b.buf[first+2] = ctaStatus },
		"the tuple is longer than all":    func(b *batch) { binary.NativeEndian.PutUint16(b.buf[first:], 500) },
		"the tuple has no content":        func(b *batch) { binary.NativeEndian.PutUint16(b.buf[first:], attributeHeader) },
		"the second has no tuple":         func(b *batch) { b.buf[b.starts[1]+first+2] = ctaID },
		"the message is only a header":    func(b *batch) { binary.NativeEndian.PutUint32(b.buf, messageHeader) },
		"the batch is cut":                func(b *batch) { b.buf = b.buf[:len(b.buf)-8] },
		"something follows":               func(b *batch) { b.buf = append(b.buf, make([]byte, messageHeader)...) },
	} {
		b := newBatch()
		for range 2 {
			if err := b.delete(testKey()); err != nil {
				t.Fatal(err)
			}
		}
		spoil(b)
		if _, err := c.apply(t.Context(), b); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBatchUpdate(t *testing.T) {
	b := newBatch()
	if err := b.update(testKey(), 30); err != nil {
		t.Fatal(err)
	}
	m, rest, err := nextMessage(b.buf)
	if err != nil || len(rest) != 0 {
		t.Fatal(err, rest)
	}
	// Without CREATE an update never makes an entry, without EXCL it is one.
	if m.kind != netlink.HeaderType(messageType(msgNew)) || m.flags != netlink.Request {
		t.Errorf("type %#x, flags %v", m.kind, m.flags)
	}
	attrs := m.payload[netfilterBytes:]
	if got := findAttribute(attrs, ctaTimeout); !slices.Equal(got, []byte{0, 0, 0, 30}) {
		t.Errorf("timeout %x", got)
	}
	for _, kind := range []uint16{ctaStatus, ctaMark, ctaProtoInfo} {
		if findAttribute(attrs, kind) != nil {
			t.Errorf("attribute %d would change the entry too", kind)
		}
	}
}

func ack(seq uint32, errno unix.Errno) []byte {
	b := binary.NativeEndian.AppendUint32(nil, 36)
	b = binary.NativeEndian.AppendUint16(b, uint16(netlink.Error))
	b = append(b, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(-int32(errno)))
	return append(b, make([]byte, 16)...)
}

func TestHandleReplies(t *testing.T) {
	first := uint32(0xfffffffe) // the numbers wrap within the batch
	b := newBatch()
	for range 5 {
		if err := b.delete(testKey()); err != nil {
			t.Fatal(err)
		}
	}
	change := Change{Done: 5}
	datagram := slices.Concat(
		ack(first-1, unix.EIO), // of an earlier batch
		ack(first, unix.ENOENT),
		ack(first+1, unix.EBUSY), // el8 answers so for an offloaded entry
		ack(first+2, unix.ETIME),
		ack(first+3, unix.EINVAL),
		ack(first+5, unix.EIO), // of a later one
	)
	last, err := (&Conn{}).handleReplies(datagram, b, first, &change)
	if last || err != nil {
		t.Fatal(last, err)
	}
	if last, err = (&Conn{}).handleReplies(ack(first+4, 0), b, first, &change); !last || err != nil {
		t.Fatal(last, err)
	}
	if change.Done != 1 || change.Gone != 2 || change.Failed != 2 {
		t.Errorf("%+v", change)
	}
	var entry *EntryError
	if !errors.As(change.First, &entry) || !errors.Is(entry, unix.EBUSY) {
		t.Fatalf("first error %v", change.First)
	}
	if want := "entry " + entry.Orig.String() + ": device or resource busy"; entry.Error() != want {
		t.Errorf("got %q, want %q", entry.Error(), want)
	}
	var e2, total = Change{First: errors.New("second")}, change
	total.add(e2)
	if total.First != change.First {
		t.Error("the first error was replaced")
	}
	// The last message of a batch may be the one that fails.
	change = Change{Done: 5}
	if last, err = (&Conn{}).handleReplies(ack(first+4, unix.ENOENT), b, first, &change); !last || err != nil || change.Gone != 1 {
		t.Error(last, err, change)
	}
}

func TestHandleRepliesNamesTheEntry(t *testing.T) {
	b := newBatch()
	for i := range 3 {
		k := testKey()
		k.tuple = nest(ctaTupleOrig,
			nest(ctaTupleIP, attr(ctaIPv4Src, 10, 0, 0, byte(i)), attr(ctaIPv4Dst, 192, 0, 2, 1)),
			nest(ctaTupleProto, attr(ctaProtoNum, 17), attr(ctaProtoSrcPort, 0, 1), attr(ctaProtoDstPort, 0, 2)))
		if err := b.delete(k); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		change := Change{Done: 3}
		if _, err := (&Conn{}).handleReplies(ack(uint32(i), unix.EPERM), b, 0, &change); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("entry 10.0.0.%d:1 -> 192.0.2.1:2: operation not permitted", i)
		if change.First == nil || change.First.Error() != want {
			t.Errorf("got %v, want %s", change.First, want)
		}
	}
}
