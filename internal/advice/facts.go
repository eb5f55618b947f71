package advice

import (
	"slices"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// Facts are what is known of a table, now or in an incident. The zero Facts
// are of a table of which nothing is known: the fix keeps what there is.
type Facts struct {
	// Source is in a few words where the numbers come from.
	Source string
	// Peak is the most entries seen, Refused how many more packets would have
	// made entries that were in the table together with them.
	Peak, Refused uint64
	// Max and Buckets are in force without ctwarden; 0 is not known.
	Max, Buckets uint64
	Level        policy.Level
	Budget       policy.Budget
	Timeouts     conntrack.Timeouts
	Cause        policy.Cause
	Census       census.Summary
	// Top are the talkers with the most of the entries of Census.
	Top census.Talkers
	// NoTrackPorts are the ports that a person wants untracked.
	NoTrackPorts []census.Port
}

const (
	// adviceShare is the share from which a port, a source or loopback is
	// worth a word, worthNoTrack the one from which it is worth not to be
	// tracked.
	adviceShare  = conntrack.Permyriad(1000)
	noTrackShare = conntrack.Permyriad(2000)
	// maxPorts is how many ports are proposed for NOTRACK.
	maxPorts = 4
)

// dominantPorts returns the TCP ports that are worth not to be tracked. Those of UDP
// are left out: DNS and the like need their state.
func (f *Facts) dominantPorts() []census.Counted[census.Port] {
	found := slices.DeleteFunc(slices.Clone(f.Top.Ports), func(p census.Counted[census.Port]) bool {
		return p.Key.Proto != conntrack.ProtoTCP || f.Census.Share(p.Count) < noTrackShare
	})
	return found[:min(len(found), maxPorts)]
}

// noTrackPorts returns the ports that the rules leave untracked: the dominant
// ones, unless the table is one of NAT, and those that a person named.
func (f *Facts) noTrackPorts() []census.Port {
	var ports []census.Port
	if !f.Census.HasNAT() {
		for _, p := range f.dominantPorts() {
			ports = append(ports, p.Key)
		}
	}
	for _, p := range f.NoTrackPorts {
		if (p.Proto == conntrack.ProtoTCP || p.Proto == conntrack.ProtoUDP) && !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	return ports
}

// noTrackLoopback reports whether the host's connections with itself are worth not to
// be tracked.
func (f *Facts) noTrackLoopback() bool {
	return f.Census.Seen > 0 && f.Census.Share(f.Census.Loopback) >= noTrackShare
}
