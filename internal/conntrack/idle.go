package conntrack

import (
	"slices"
	"time"
)

// idleRounding is how far the timeout less the remaining time can lie above the
// true idle time: a dump cuts the remaining time to whole seconds, and kernels
// before 4.9 do not renew a timer that would move by less than a second.
const idleRounding = 2 * time.Second

// An Idleness is a lower bound of how long entries have been idle. The zero
// Idleness knows none.
//
// How long an entry has been idle is not in a dump. It follows from the time
// that is left to it and the timeout that its last packet gave it, and must
// never be over-estimated: that would delete a young entry.
//
// Let the last packet have been idle seconds ago and have given the entry the
// timeout T. What is left is T - idle, in the dump R with R <= T - idle < R+1.
// T is not in the dump either. It was one of the values that stood in the
// sysctl when the packet came; which one is not known when the sysctl was
// changed since. Taking the larger value of two is wrong after a timeout was
// shortened (an entry under the new one seems idle by the difference), taking
// the present one is wrong after it was restored. So:
//
// Let C be every value that stood there during the last W seconds, and W no
// less than the idle time D that is required.
//   - If the last packet came within W, T is in C, and T >= R. The smallest c
//     in C with c >= R is at most T, so that c - R - 1 is less than idle.
//   - If it came before, idle >= W >= D.
//
// In both cases c - R - 1 >= D proves idle >= D. If no c in C is >= R the time
// came from elsewhere, and idle is not known. For some states the kernel takes
// a second timeout when it is shorter than the state's own
// (nf_conntrack_tcp_packet); those are in C.
//
// Two things stay outside of the proof: a value that a program sets and takes
// back between two readings of the sysctls, and an entry with a timeout policy
// of its own (nft "ct timeout", iptables -j CT --timeout) that is shorter than
// the sysctl: no dump shows it. To list such policies would load nf_tables or
// nfnetlink_cttimeout. An unreplied entry under one ends that much sooner; of
// connections only those that age.established_floor permits are at risk.
type Idleness struct {
	// values are C for each timeout, ascending.
	values [NumTimeouts][]uint32
}

// IdlenessOf is the Idleness of a namespace where the timeouts have stood for
// as long as an act requires entries to be idle.
func IdlenessOf(timeouts Timeouts) Idleness {
	return NewIdleness(func(t Timeout) []uint32 {
		if timeouts[t] == 0 {
			return nil
		}
		return []uint32{timeouts[t]}
	})
}

// NewIdleness is the Idleness of a namespace where each timeout had these values
// during the time that an act requires entries to be idle.
func NewIdleness(stood func(Timeout) []uint32) Idleness {
	var in Idleness
	for t := TCPSynSent; t <= TCPClose; t++ {
		in.values[t] = tcpValues(stood, t)
	}
	// No act needs the idleness of streams, and an entry of GRE keeps the
	// timeouts of its creation.
	for _, t := range [...]Timeout{UDP, ICMP, ICMPv6, Generic} {
		in.values[t] = ascending(slices.Clone(stood(t)))
	}
	return in
}

// tcpValues is C of a TCP state: its timeout, and those that the kernel takes
// in its place when they are shorter.
func tcpValues(stood func(Timeout) []uint32, t Timeout) []uint32 {
	list := slices.Clone(stood(t))
	if len(list) == 0 {
		return nil
	}
	longest := slices.Max(list)
	for _, short := range [...]Timeout{TCPMaxRetrans, TCPUnacknowledged, TCPClose} {
		for _, v := range stood(short) {
			if v < longest {
				list = append(list, v)
			}
		}
	}
	return ascending(list)
}

func ascending(list []uint32) []uint32 {
	slices.Sort(list)
	return slices.Compact(list)
}

// AtLeast is a lower bound of the idle time of an unreplied entry, or of any
// TCP entry. It is good for comparing with at most the idle time that the
// Idleness was made for. False: it is not known.
func (in *Idleness) AtLeast(e *Entry) (time.Duration, bool) {
	if e.Proto == ProtoTCP && e.State == StateSynSent2 {
		return 0, false // it has a timeout without a sysctl
	}
	for _, v := range in.values[e.LivesBy()] {
		if v >= e.Timeout {
			return max(time.Duration(v-e.Timeout)*time.Second-idleRounding, 0), true
		}
	}
	return 0, false
}
