package remediate

import (
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// Protocol numbers, from IANA.
const (
	protoICMP    = 1
	protoTCP     = 6
	protoUDP     = 17
	protoDCCP    = 33
	protoGRE     = 47
	protoICMPv6  = 58
	protoSCTP    = 132
	protoUDPLite = 136
)

// rounding is how far the timeout less the remaining time can lie above the
// true idle time: a dump cuts the remaining time to whole seconds, and kernels
// before 4.9 do not renew a timer that would move by less than a second.
const rounding = 2 * time.Second

// How long an entry has been idle is not in a dump. It follows from the time
// that is left to it and the timeout that its last packet gave it, and must
// never be over-estimated: that would delete a young entry.
//
// Let the last packet have been idle seconds ago and have given the entry the
// timeout T. What is left is T - idle, in the dump R with R <= T - idle < R+1.
// T is not in the dump either. It was one of the values that stood in the
// sysctl when the packet came; which one is not known when the sysctl was
// changed since. Taking the larger value of two is wrong after a timeout was
// shortened (an entry under the new one looks idle by the difference), taking
// the present one is wrong after it was given back. So:
//
// Let C be every value that stood there during the last W seconds, and W no
// less than the idle time D that is asked for.
//   - If the last packet came within W, T is in C, and T >= R. The smallest c
//     in C with c >= R is at most T, so that c - R - 1 is less than idle.
//   - If it came before, idle >= W >= D.
//
// In both cases c - R - 1 >= D proves idle >= D. If no c in C is >= R the time
// came from elsewhere, and idle is not known. Without a watch over all of W
// nothing is proven. For some states the kernel takes a second timeout when it
// is shorter than the state's own (nf_conntrack_tcp_packet); those are in C.
//
// Two things stay outside of the proof: a value that somebody sets and takes
// back between two looks at the sysctls, and an entry with a timeout policy of
// its own (nft "ct timeout", iptables -j CT --timeout) that is shorter than
// the sysctl: no dump shows it. To list such policies would load nf_tables or
// nfnetlink_cttimeout. An unreplied entry under one ends that much sooner; of
// connections only those that age.established_floor asks for are at risk.

// A change is a value and since when it was seen to stand.
type change struct {
	at      time.Time
	seconds uint32
}

const (
	// lookApart is the most time between two looks of a watch; after a longer
	// one it begins anew.
	lookApart = time.Minute
	// changesMost bounds a watch: when a timeout changes more often within
	// what is remembered, the watch begins anew.
	changesMost = 64
	// remembered is how far back a watch goes: more than any idle time that
	// may be asked for.
	remembered = 8 * 24 * time.Hour
)

// A watch knows which timeouts stood in a namespace, and since when it has
// looked.
type watch struct {
	since, last time.Time
	changes     [conntrack.NumTimeouts][]change
}

// look notes the timeouts that stand at now.
func (w *watch) look(timeouts *conntrack.Timeouts, now time.Time) {
	if gap := now.Sub(w.last); gap < 0 || gap > lookApart {
		*w = watch{since: now}
	}
	w.last = now
	for t := conntrack.TCPSynSent; t < conntrack.NumTimeouts; t++ {
		seen := w.changes[t]
		if n := len(seen); n > 0 && seen[n-1].seconds == timeouts[t] {
			continue
		}
		if len(seen) == changesMost {
			*w = watch{since: now, last: now}
			w.look(timeouts, now)
			return
		}
		w.changes[t] = append(forget(seen, now.Add(-remembered)), change{now, timeouts[t]})
	}
}

// forget drops the changes that were over before a time.
func forget(seen []change, before time.Time) []change {
	for len(seen) > 1 && seen[1].at.Before(before) {
		seen = seen[1:]
	}
	return seen
}

// covers reports whether the watch has lasted for d.
func (w *watch) covers(d time.Duration) bool {
	return !w.since.IsZero() && w.last.Sub(w.since) >= d
}

// values adds what stood in a timeout during the last d to list. A value
// counts until the look that found another one.
func (w *watch) values(t conntrack.Timeout, d time.Duration, list []uint32) []uint32 {
	from := w.last.Add(-d)
	seen := w.changes[t]
	for i := range seen {
		if i+1 < len(seen) && seen[i+1].at.Before(from) {
			continue
		}
		if seen[i].seconds != 0 {
			list = append(list, seen[i].seconds)
		}
	}
	return list
}

// An idleness tells how long entries have been idle at least. The zero
// idleness can't tell.
type idleness struct {
	// tcp and other hold the values of C, ascending.
	tcp                        [conntrack.NumTCPStates][]uint32
	udp, icmp, icmpv6, generic []uint32
}

// idleness computes what may have been given to entries within d.
func (w *watch) idleness(d time.Duration) idleness {
	var in idleness
	if !w.covers(d) {
		return in
	}
	// SYN_SENT2 has no sysctl; NONE no timeout.
	for state, t := range [conntrack.NumTCPStates]conntrack.Timeout{
		conntrack.StateSynSent: conntrack.TCPSynSent, conntrack.StateSynRecv: conntrack.TCPSynRecv,
		conntrack.StateEstablished: conntrack.TCPEstablished, conntrack.StateFinWait: conntrack.TCPFinWait,
		conntrack.StateCloseWait: conntrack.TCPCloseWait, conntrack.StateLastAck: conntrack.TCPLastAck,
		conntrack.StateTimeWait: conntrack.TCPTimeWait, conntrack.StateClose: conntrack.TCPClose,
	} {
		if t != conntrack.NoTimeout {
			in.tcp[state] = w.tcpValues(t, d)
		}
	}
	in.udp = sorted(w.values(conntrack.UDP, d, nil))
	in.icmp = sorted(w.values(conntrack.ICMP, d, nil))
	in.icmpv6 = sorted(w.values(conntrack.ICMPv6, d, nil))
	in.generic = sorted(w.values(conntrack.Generic, d, nil))
	return in
}

// tcpValues is C of a TCP state: its timeout, and those that the kernel takes
// in its place when they are shorter.
func (w *watch) tcpValues(t conntrack.Timeout, d time.Duration) []uint32 {
	list := w.values(t, d, nil)
	if len(list) == 0 {
		return nil
	}
	longest := slices.Max(list)
	for _, short := range [...]conntrack.Timeout{conntrack.TCPMaxRetrans, conntrack.TCPUnacknowledged, conntrack.TCPClose} {
		for _, v := range w.values(short, d, nil) {
			if v < longest {
				list = append(list, v)
			}
		}
	}
	return sorted(list)
}

func sorted(list []uint32) []uint32 {
	slices.Sort(list)
	return slices.Compact(list)
}

// atLeast is a lower bound of the idle time of an unreplied entry, or of any
// TCP entry. It is good for comparing with at most the d that the idleness was
// made for. False: it is not known.
func (in *idleness) atLeast(e *conntrack.Entry) (time.Duration, bool) {
	var values []uint32
	switch e.Proto {
	case protoTCP:
		values = in.tcp[min(e.State, conntrack.NumTCPStates-1)]
	case protoUDP, protoUDPLite:
		values = in.udp
	case protoICMP:
		values = in.icmp
	case protoICMPv6:
		values = in.icmpv6
	case protoGRE, protoSCTP, protoDCCP:
		// An entry of GRE keeps the timeouts of its creation; the others have
		// timeouts that are not watched.
		return 0, false
	default:
		values = in.generic
	}
	for _, v := range values {
		if v >= e.Timeout {
			return max(time.Duration(v-e.Timeout)*time.Second-rounding, 0), true
		}
	}
	return 0, false
}
