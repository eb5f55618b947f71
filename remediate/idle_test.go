package remediate

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
)

// seconds makes a moment of the simulated clock.
func seconds(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }

// watched makes a watch that has looked once a second from 0 to until, at a
// udp timeout that changes at the given seconds.
func watched(until int, changes map[int]uint32) *watch {
	w := &watch{}
	timeouts := conntrack.Timeouts{conntrack.UDP: 120, conntrack.TCPSynSent: 120, conntrack.TCPEstablished: 432000, conntrack.TCPMaxRetrans: 300, conntrack.TCPUnacknowledged: 300, conntrack.TCPClose: 10, conntrack.Generic: 600, conntrack.ICMP: 30, conntrack.ICMPv6: 31, conntrack.GRE: 30}
	for s := range until + 1 {
		if v, ok := changes[s]; ok {
			timeouts[conntrack.UDP] = v
		}
		w.look(&timeouts, seconds(s))
	}
	return w
}

func TestIdleAtLeast(t *testing.T) {
	const d = 10 * time.Second
	udp := func(left uint32) conntrack.Entry { return conntrack.Entry{Proto: conntrack.ProtoUDP, Timeout: left} }
	tcp := func(state conntrack.TCPState, left uint32) conntrack.Entry {
		return conntrack.Entry{Proto: conntrack.ProtoTCP, State: state, Timeout: left}
	}
	tests := map[string]struct {
		watch *watch
		entry conntrack.Entry
		want  time.Duration
		known bool
	}{
		"by the only timeout there was, less the rounding": {
			watched(60, nil), udp(100), 18 * time.Second, true,
		},
		"an entry that was just seen": {watched(60, nil), udp(119), 0, true},
		"an entry that has expired":   {watched(60, nil), udp(0), 118 * time.Second, true},
		"a watch that is too short":   {watched(9, nil), udp(100), 0, false},
		"a watch that is just enough": {watched(10, nil), udp(100), 18 * time.Second, true},
		"more left than any timeout":  {watched(60, nil), udp(121), 0, false},
		"an entry of before a shortening, that has more left than the new timeout": {
			watched(60, map[int]uint32{55: 60}), udp(100), 18 * time.Second, true,
		},
		"either timeout may be the one after a shortening: the shorter counts": {
			watched(60, map[int]uint32{55: 60}), udp(50), 8 * time.Second, true,
		},
		"all of the shorter timeout left may be a packet of this very moment": {
			watched(60, map[int]uint32{55: 60}), udp(60), 0, true,
		},
		"either timeout may be the one after it was given back: the shorter counts": {
			watched(60, map[int]uint32{1: 30, 55: 120}), udp(25), 3 * time.Second, true,
		},
		"a timeout that ended before the window no longer counts": {
			watched(60, map[int]uint32{1: 30, 49: 120}), udp(25), 93 * time.Second, true,
		},
		"a timeout that ended at the edge of the window counts": {
			watched(60, map[int]uint32{1: 30, 50: 120}), udp(25), 3 * time.Second, true,
		},
		"a short visit of another timeout counts": {
			watched(60, map[int]uint32{55: 27, 56: 120}), udp(25), 0, true,
		},
		"UDP-Lite lives by the timeout of UDP": {
			watched(60, nil), conntrack.Entry{Proto: conntrack.ProtoUDPLite, Timeout: 100}, 18 * time.Second, true,
		},
		"SYN_SENT": {watched(60, nil), tcp(conntrack.StateSynSent, 100), 18 * time.Second, true},
		"a TCP timeout that a shorter may replace": {watched(60, nil), tcp(conntrack.StateEstablished, 250), 48 * time.Second, true},
		"one that none of the shorter can have made": {
			watched(60, nil), tcp(conntrack.StateEstablished, 400000), 31998 * time.Second, true,
		},
		"SYN_SENT is not made by a longer one":  {watched(60, nil), tcp(conntrack.StateSynSent, 130), 0, false},
		"an RST may have left it":               {watched(60, nil), tcp(conntrack.StateSynSent, 5), 3 * time.Second, true},
		"a state without a sysctl":              {watched(60, nil), tcp(conntrack.StateSynSent2, 5), 0, false},
		"no state":                              {watched(60, nil), tcp(conntrack.StateNone, 5), 0, false},
		"a state beyond all":                    {watched(60, nil), tcp(200, 5), 0, false},
		"ICMP":                                  {watched(60, nil), conntrack.Entry{Proto: conntrack.ProtoICMP, Timeout: 10}, 18 * time.Second, true},
		"ICMPv6":                                {watched(60, nil), conntrack.Entry{Proto: conntrack.ProtoICMPv6, Timeout: 10}, 19 * time.Second, true},
		"any other protocol":                    {watched(60, nil), conntrack.Entry{Proto: 50, Timeout: 500}, 98 * time.Second, true},
		"GRE keeps the timeout of its creation": {watched(60, nil), conntrack.Entry{Proto: conntrack.ProtoGRE, Timeout: 10}, 0, false},
		"SCTP is not watched":                   {watched(60, nil), conntrack.Entry{Proto: conntrack.ProtoSCTP, Timeout: 10}, 0, false},
		"nobody has looked":                     {&watch{}, udp(10), 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := tt.watch.idleness(d)
			got, known := in.AtLeast(&tt.entry)
			if got != tt.want || known != tt.known {
				t.Errorf("idle for at least %v, %t; want %v, %t", got, known, tt.want, tt.known)
			}
		})
	}
}

// TestIdleIsNeverOverestimated plays random histories of a timeout against
// entries whose true idle time is known: whoever passes for idle is.
func TestIdleIsNeverOverestimated(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	passed := 0
	for range 3000 {
		const until = 200
		changes := map[int]uint32{0: 20 + r.Uint32N(100)}
		for range r.IntN(6) {
			changes[1+r.IntN(until)] = 5 + r.Uint32N(120)
		}
		w := watched(until, changes)
		d := time.Duration(1+r.IntN(60)) * time.Second
		in := w.idleness(d)
		// A look sees a change up to a second after it was made.
		late := r.Float64()
		inForce := func(at float64) (v uint32) {
			for s := range until + 1 {
				if c, ok := changes[s]; ok && float64(s)-late <= at {
					v = c
				}
			}
			return v
		}
		for range 50 {
			last := r.Float64() * until
			left := last + float64(inForce(last)) - until
			if left < 0 {
				continue // it has expired
			}
			e := conntrack.Entry{Proto: conntrack.ProtoUDP, Timeout: uint32(left)}
			least, known := in.AtLeast(&e)
			idle := time.Duration((until - last) * float64(time.Second))
			if !known || least < d {
				continue
			}
			passed++
			if idle < d {
				t.Fatalf("idle for %v passes for %v (asked for %v): %d s left, changes %v", idle, least, d, e.Timeout, changes)
			}
		}
	}
	if passed < 1000 {
		t.Errorf("only %d entries passed: the test proves little", passed)
	}
}

func TestAWatchBeginsAnew(t *testing.T) {
	timeouts := conntrack.Timeouts{conntrack.UDP: 30}
	tests := map[string]struct {
		next time.Time
		want bool
	}{
		"not after a minute":            {seconds(60 + 60), true},
		"after more than a minute":      {seconds(60 + 61), false},
		"when the clock goes backwards": {seconds(59), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := watched(60, nil)
			w.look(&timeouts, tt.next)
			if got := w.covers(30 * time.Second); got != tt.want {
				t.Errorf("covers 30 s: %t", got)
			}
		})
	}
}

func TestAWatchIsBounded(t *testing.T) {
	w := &watch{}
	for s := range 1000 {
		w.look(&conntrack.Timeouts{conntrack.UDP: uint32(s%2 + 10)}, seconds(s))
		if n := len(w.changes[conntrack.UDP]); n > changesMost {
			t.Fatalf("%d changes after %d s", n, s)
		}
	}
	if w.covers(changesMost * time.Second) {
		t.Error("covers what it had to forget")
	}
	// Changes that are over for long make room.
	w = &watch{}
	at := start
	for i := range 3 * changesMost {
		for range 60 * 24 {
			at = at.Add(time.Minute)
			w.look(&conntrack.Timeouts{conntrack.UDP: uint32(i%2 + 10)}, at)
		}
	}
	if n := len(w.changes[conntrack.UDP]); n > 10 || !w.covers(remembered) {
		t.Errorf("%d changes, since %v", n, w.since)
	}
}

// A new namespace begins with what the kernel was compiled with.
func TestDefaultTimeoutsAreTheKernels(t *testing.T) {
	ns := cttest.NewNS(t)
	cttest.Count(t, ns) // the module is there
	k := newKernel(Options{Dir: t.TempDir()})
	got, err := k.timeouts(ns)
	if err != nil {
		t.Fatal(err)
	}
	for timeout, want := range conntrack.DefaultTimeouts() {
		if got[timeout] != want && got[timeout] != 0 { // 0: this kernel lacks it
			t.Errorf("%s is %d, want %d", conntrack.Timeout(timeout).Sysctl(), got[timeout], want)
		}
	}
}

// A negative timeout is taken by the kernel and counts as a huge one: what
// lives by it is spared, and the rest can be relieved all the same.
func TestANegativeTimeoutIsNotKnown(t *testing.T) {
	b := newBench(t, conntrack.Protect{})
	err := b.ns.Do(func() error {
		return os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_icmp_timeout", []byte("-1"), 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.k.timeouts(b.ns)
	if err != nil || got[conntrack.ICMP] != 0 || got[conntrack.UDP] != 600 {
		t.Fatalf("%v, %v", got, err)
	}
	cttest.Fill(t, b.ns, 100, like(cttest.Unreplied(), 300, "192.0.2.101"))
	if out := b.k.Apply(t.Context(), "", deletion(1000)); !out.OK || out.Changed != 100 {
		t.Errorf("%+v", out)
	}
}
