package policy

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// How often a census of a table is taken, at most: a census is a bounded dump.
const (
	censusEvery = 10 * time.Second
	censusCalm  = 10 * time.Minute
)

// CensusDue reports whether a census is due at now, the last one being at last
// (zero: never): from elevated up, because the cause decides the steps, and in
// calm while a timeout is not restored because too many entries may have it.
func CensusDue(level Level, held Hold, last, now BootTime) bool {
	switch {
	case level != Calm:
		return last == 0 || now.Since(last) >= censusEvery
	case held == HeldWouldRefill:
		return last == 0 || now.Since(last) >= censusCalm
	}
	return false
}

// hasFreshCensus reports whether the last census is recent: an older
// census does not describe the table.
func (o *Observation) hasFreshCensus() bool {
	return o.CensusAt != 0 && o.Census.Seen > 0 && o.Now.Since(o.CensusAt) <= censusMaxAge
}

// minCensusSample is how many entries a sample must have for a bound: by chance
// alone it is off by 1.6 % of the table in two cases out of three, at most.
const minCensusSample = 1000

// entriesUnder bounds how many entries have a timeout, from above. Without a
// fresh census, all of them do.
func (o *Observation) entriesUnder(t conntrack.Timeout) uint64 {
	c, all := &o.Census, o.Table.Entries
	if !o.hasFreshCensus() || c.Sampled && c.Seen < minCensusSample {
		return all
	}
	// Each count has other entries in it as well, never fewer.
	seen := c.Seen
	switch t {
	case conntrack.TCPFinWait, conntrack.TCPCloseWait, conntrack.TCPLastAck, conntrack.TCPTimeWait, conntrack.TCPClose:
		seen = c.Closing
	case conntrack.TCPSynSent, conntrack.TCPSynRecv:
		seen = c.HalfOpen
	case conntrack.UDP:
		// A stream is ASSURED.
		seen -= min(c.Assured, seen)
	}
	// Entries that no dump shows, and entries added since, may have it, too.
	unseen := all - min(c.Seen, all)
	if c.Sampled {
		unseen = 0
	}
	return min(c.Scale(seen, all)+unseen, all)
}
