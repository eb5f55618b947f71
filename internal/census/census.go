package census

import (
	"net/netip"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

const (
	// talkers is the size of the sketches of addresses, networks and ports: no
	// count is too large by more than a thousandth of what was seen.
	talkers = 1024
	// zones is the same for zones, of which few are in use.
	zones = 64
)

// A Census is a Count that also finds what the entries are and which talkers
// have them. Its memory does not grow with the table. Make one with New.
type Census struct {
	Count
	Make Make

	sources, destinations, networks, ports, zones *sketch
}

// New returns an empty census that counts by the rules of c. The secret is any
// random number; the result does not depend on it.
func New(c Count, secret uint64) *Census {
	c.Summary = Summary{}
	return &Census{
		Count:        c,
		sources:      newSketch(talkers, secret),
		destinations: newSketch(talkers, secret),
		networks:     newSketch(talkers, secret),
		ports:        newSketch(talkers, secret),
		zones:        newSketch(zones, secret),
	}
}

// Add counts one entry. It does not keep it, and allocates nothing.
func (c *Census) Add(e *conntrack.Entry) {
	c.Count.Add(e)
	c.Make.add(e)
	if seconds, known := c.idle(e); known {
		c.Make.Idle.Add(seconds)
	} else {
		c.Make.Idle.AddUnknown()
	}
	c.zones.add(word{lo: uint64(e.Zone)})
	if conntrack.HasPorts(e.Proto) {
		c.ports.add(Port{e.Proto, e.Orig.DstPort}.word())
	}
	if !e.Orig.Src.IsValid() || !e.Orig.Dst.IsValid() {
		return
	}
	source := wordOf(e.Orig.Src)
	c.sources.add(source)
	c.networks.add(source.network())
	c.destinations.add(wordOf(e.Orig.Dst))
}

// Talkers are the keys with the most entries, by the original direction: the
// side that opened the connections is the source.
type Talkers struct {
	Sources      []Counted[netip.Addr]   `json:"sources"`
	Networks     []Counted[netip.Prefix] `json:"source_networks"`
	Destinations []Counted[netip.Addr]   `json:"destinations"`
	Ports        []Counted[Port]         `json:"destination_ports"`
	Zones        []Counted[uint16]       `json:"zones"`
}

// Top returns up to n of each.
func (c *Census) Top(n int) Talkers {
	return Talkers{
		Sources:      shown(c.sources.top(n), word.addr),
		Networks:     shown(c.networks.top(n), word.prefix),
		Destinations: shown(c.destinations.top(n), word.addr),
		Ports:        shown(c.ports.top(n), word.port),
		Zones:        shown(c.zones.top(n), word.zone),
	}
}

func shown[K any](top []Counted[word], as func(word) K) []Counted[K] {
	list := make([]Counted[K], len(top))
	for i, c := range top {
		list[i] = Counted[K]{as(c.Key), c.Count, c.Error}
	}
	return list
}
