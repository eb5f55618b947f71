package census_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// table makes n entries of a web server's table: most in TIME_WAIT, from many
// sources of which a few have many, to a few ports.
func table(n int, seed uint64) []conntrack.Entry {
	r := rand.New(rand.NewPCG(seed, 1))
	zipf := rand.NewZipf(r, 1.1, 1, 1<<20)
	list := make([]conntrack.Entry, n)
	for i := range list {
		e := &list[i]
		var src [4]byte
		binary.BigEndian.PutUint32(src[:], 0x0a000000+uint32(zipf.Uint64()))
		e.Family, e.Proto = conntrack.IPv4, conntrack.ProtoTCP
		e.Orig = conntrack.Tuple{
			Src: netip.AddrFrom4(src), SrcPort: uint16(r.Uint32()),
			Dst: netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(8))}), DstPort: []uint16{80, 443, 6379}[r.IntN(3)],
		}
		e.Reply = conntrack.Tuple{Src: e.Orig.Dst, SrcPort: e.Orig.DstPort, Dst: e.Orig.Src, DstPort: e.Orig.SrcPort}
		switch {
		case r.IntN(100) < 60:
			e.State, e.Timeout = conntrack.StateTimeWait, uint32(r.IntN(121))
			e.Status = conntrack.StatusSeenReply | conntrack.StatusAssured | conntrack.StatusConfirmed
		case r.IntN(100) < 50:
			e.State, e.Timeout = conntrack.StateSynSent, uint32(r.IntN(121))
			e.Status = conntrack.StatusConfirmed
		default:
			e.State, e.Timeout = conntrack.StateEstablished, 431999-uint32(r.IntN(4000))
			e.Status = conntrack.StatusSeenReply | conntrack.StatusAssured | conntrack.StatusConfirmed
		}
	}
	return list
}

func BenchmarkAdd(b *testing.B) {
	entries := table(1<<16, 7)
	c := census.New(rules(), 42)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.Add(&entries[i%len(entries)])
	}
}

// BenchmarkAddForged is a flood from random sources to random addresses: each
// entry misses three sketches.
func BenchmarkAddForged(b *testing.B) {
	entries := table(1<<16, 7)
	c := census.New(rules(), 42)
	r := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e := &entries[i%len(entries)]
		var a [8]byte
		binary.BigEndian.PutUint64(a[:], r.Uint64())
		e.Orig.Src, e.Orig.Dst = netip.AddrFrom4([4]byte(a[:4])), netip.AddrFrom4([4]byte(a[4:]))
		c.Add(e)
	}
}
