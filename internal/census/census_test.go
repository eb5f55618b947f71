package census_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// rules are the timeouts of a fresh kernel and the limits that the daemon runs
// with.
func rules() census.Count {
	limits := policy.Defaults()
	return limits.Count(conntrack.DefaultTimeouts(), conntrack.Protect{})
}

func count(entries []conntrack.Entry) *census.Census {
	c := census.New(rules(), 42)
	for i := range entries {
		c.Add(&entries[i])
	}
	return c
}

func TestCensusOfOneEach(t *testing.T) {
	const replied = conntrack.StatusSeenReply | conntrack.StatusConfirmed
	four := func(src, dst string, port uint16) conntrack.Tuple {
		return conntrack.Tuple{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), SrcPort: 4000, DstPort: port}
	}
	c := count([]conntrack.Entry{
		{Family: conntrack.IPv4, Proto: conntrack.ProtoTCP, State: conntrack.StateTimeWait, Timeout: 100, Status: replied | conntrack.StatusAssured, Orig: four("10.0.0.1", "192.0.2.1", 80)},
		{Family: conntrack.IPv4, Proto: conntrack.ProtoTCP, State: conntrack.StateTimeWait, Timeout: 30, Status: replied | conntrack.StatusAssured | conntrack.StatusDstNAT, Orig: four("10.0.0.1", "192.0.2.1", 80)},
		{Family: conntrack.IPv4, Proto: conntrack.ProtoTCP, State: conntrack.StateCloseWait, Timeout: 50, Status: replied | conntrack.StatusAssured | conntrack.StatusSrcNAT, Orig: four("10.0.0.2", "192.0.2.1", 80)},
		{Family: conntrack.IPv4, Proto: conntrack.ProtoTCP, State: conntrack.StateSynSent, Timeout: 103, Orig: four("10.0.1.2", "192.0.2.1", 443)},
		{Family: conntrack.IPv4, Proto: conntrack.ProtoTCP, State: conntrack.StateSynSent, Timeout: 104, Orig: four("10.0.1.2", "192.0.2.1", 443)},
		{Family: conntrack.IPv4, Proto: conntrack.ProtoTCP, State: conntrack.StateSynRecv, Timeout: 60, Status: replied, Orig: four("10.0.1.2", "192.0.2.1", 443)},
		{Family: conntrack.IPv4, Proto: conntrack.ProtoTCP, State: conntrack.StateEstablished, Timeout: 432000 - 86400, Status: replied | conntrack.StatusAssured, Orig: four("127.0.0.1", "127.0.0.1", 6379)},
		{Family: conntrack.IPv4, Proto: conntrack.ProtoTCP, State: conntrack.StateEstablished, Timeout: 0, Status: replied | conntrack.StatusAssured | conntrack.StatusOffload, Orig: four("10.0.0.1", "192.0.2.1", 22)},
		{Family: conntrack.IPv4, Proto: conntrack.ProtoUDP, Timeout: 18, Orig: four("10.0.0.1", "192.0.2.9", 53), Zone: 7},
		{Family: conntrack.IPv4, Proto: conntrack.ProtoUDP, Timeout: 40, Orig: four("10.0.0.1", "192.0.2.9", 53)},
		{Family: conntrack.IPv4, Proto: conntrack.ProtoUDP, Timeout: 1, Status: conntrack.StatusDstNAT, Orig: four("10.0.0.1", "192.0.2.9", 53)},
		{Family: conntrack.IPv4, Proto: conntrack.ProtoUDP, Timeout: 1, HasHelper: true, Orig: four("10.0.0.1", "192.0.2.9", 69)},
		{Family: conntrack.IPv6, Proto: conntrack.ProtoICMPv6, Timeout: 30, HasMaster: true, Orig: conntrack.Tuple{Src: netip.MustParseAddr("2001:db8:0:1::5"), Dst: netip.MustParseAddr("2001:db8::1")}},
	})
	want := census.Summary{
		Seen: 13, Unreplied: 7, Assured: 5, HalfOpen: 8, Closing: 3, TimeWait: 2,
		Established: 2, Stale: 1, Loopback: 1, Translated: 3, Deletable: 2, Ageable: 1,
	}
	if diff := cmp.Diff(want, c.Summary); diff != "" {
		t.Errorf("summary: -want +got\n%s", diff)
	}
	m := c.Make
	if m.IPv4 != 12 || m.IPv6 != 1 || m.SrcNAT != 1 || m.DstNAT != 2 || m.Offload != 1 || m.HWOffload != 0 || m.Helper != 1 || m.Expected != 1 {
		t.Errorf("make: %+v", m)
	}
	if got := m.Protocols[conntrack.ProtoTCP]; got != (census.Protocol{Entries: 8, Unreplied: 2, Assured: 5}) {
		t.Errorf("tcp: %+v", got)
	}
	if m.States[conntrack.StateTimeWait] != 2 || m.States[conntrack.StateSynSent] != 2 || m.States[conntrack.StateNone] != 0 {
		t.Errorf("states: %v", m.States)
	}
	wantLeft := []census.Range{
		{0, 10, 2}, {10, 30, 3}, {30, 60, 3}, {60, 120, 3}, {120, 300, 0}, {300, 600, 0}, {600, 3600, 0}, {3600, 86400, 0}, {86400, 432000, 1},
	}
	if diff := cmp.Diff(wantLeft, m.Remaining.Ranges()); diff != "" || m.Remaining.Unknown() != 1 {
		t.Errorf("remaining (%d unknown): -want +got\n%s", m.Remaining.Unknown(), diff)
	}
	// Offloaded, and one that has more left than udp_timeout gives.
	if got := m.Idle.Unknown(); got != 2 {
		t.Errorf("idle: %d unknown, want 2", got)
	}
	top := c.Top(1)
	wantTop := census.Talkers{
		Sources:      []census.Counted[netip.Addr]{{Key: netip.MustParseAddr("10.0.0.1"), Count: 7}},
		Networks:     []census.Counted[netip.Prefix]{{Key: netip.MustParsePrefix("10.0.0.0/24"), Count: 8}},
		Destinations: []census.Counted[netip.Addr]{{Key: netip.MustParseAddr("192.0.2.1"), Count: 7}},
		Ports:        []census.Counted[census.Port]{{Key: census.Port{Proto: conntrack.ProtoTCP, Number: 80}, Count: 3}},
		Zones:        []census.Counted[uint16]{{Key: 0, Count: 12}},
	}
	if diff := cmp.Diff(wantTop, top, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("top: -want +got\n%s", diff)
	}
	all := c.Top(100)
	if n := len(all.Networks); n != 4 || all.Networks[3].Key != netip.MustParsePrefix("2001:db8:0:1::/64") {
		t.Errorf("networks: %v", all.Networks)
	}
}

// An act that is aimed at entries which it then spares has no effect, and bans
// its kind for the incident.
func TestWhatIsDeletableMayBeDeleted(t *testing.T) {
	for name, test := range map[string]struct {
		entry conntrack.Entry
		want  uint64
	}{
		"a datagram that nobody answered":                 {conntrack.Entry{Proto: conntrack.ProtoUDP, Timeout: 11}, 1},
		"a SYN that nobody answered":                      {conntrack.Entry{Proto: conntrack.ProtoTCP, State: conntrack.StateSynSent, Timeout: 11}, 1},
		"a connection that closes, seen from one side":    {conntrack.Entry{Proto: conntrack.ProtoTCP, State: conntrack.StateFinWait, Timeout: 11}, 1},
		"a live connection, seen from one side":           {conntrack.Entry{Proto: conntrack.ProtoTCP, State: conntrack.StateEstablished, Timeout: 11}, 0},
		"half of one":                                     {conntrack.Entry{Proto: conntrack.ProtoTCP, State: conntrack.StateCloseWait, Timeout: 11}, 0},
		"one that early drop would spare":                 {conntrack.Entry{Proto: conntrack.ProtoUDP, Timeout: 11, Status: conntrack.StatusAssured}, 0},
		"a simultaneous open, whose timeout is no sysctl": {conntrack.Entry{Proto: conntrack.ProtoTCP, State: conntrack.StateSynSent2, Timeout: 11}, 0},
		"GRE, which keeps the timeouts of its creation":   {conntrack.Entry{Proto: conntrack.ProtoGRE, Timeout: 11}, 0},
		"SCTP, whose timeouts are not watched":            {conntrack.Entry{Proto: conntrack.ProtoSCTP, Timeout: 11}, 0},
	} {
		if c := count([]conntrack.Entry{test.entry}); c.Summary.Deletable != test.want {
			t.Errorf("%s: %d deletable, want %d", name, c.Summary.Deletable, test.want)
		}
	}
}

func TestAddAllocatesNothing(t *testing.T) {
	entries := table(5000, 3)
	c := census.New(rules(), 42)
	i := 0
	if n := testing.AllocsPerRun(len(entries)-1, func() { c.Add(&entries[i]); i++ }); n != 0 {
		t.Errorf("%v allocations an entry", n)
	}
}

// checkBounds compares a census of sources with the truth.
func checkBounds(t *testing.T, name string, c *census.Census, truth map[netip.Addr]uint64, seen uint64) {
	t.Helper()
	found := map[netip.Addr]bool{}
	for _, s := range c.Top(1 << 20).Sources {
		found[s.Key] = true
		if n := truth[s.Key]; n > s.Count || n < s.Count-s.Error || s.Error > seen/1024 {
			t.Errorf("%s: %s came %d times, counted %d, error %d", name, s.Key, n, s.Count, s.Error)
		}
	}
	for addr, n := range truth {
		if n > seen/1024 && !found[addr] {
			t.Errorf("%s: %s came %d times of %d and was not found", name, addr, n, seen)
		}
	}
}

func TestSketchBoundsUnderAFlood(t *testing.T) {
	for seed := range uint64(4) {
		entries := table(40_000, seed)
		r := rand.New(rand.NewPCG(seed, 2))
		truth := map[netip.Addr]uint64{}
		for i := range entries {
			if r.IntN(2) == 0 { // forged, each once or so
				b := [4]byte{byte(100 + r.IntN(100)), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}
				entries[i].Orig.Src = netip.AddrFrom4(b)
			}
			truth[entries[i].Orig.Src]++
		}
		checkBounds(t, "flood", count(entries), truth, uint64(len(entries)))
	}
}

// TestSampleIsUnbiased takes many samples of one table as a dump does, where
// each entry is as likely as any other to be in the part that is walked, and
// compares the shares in them with the truth.
func TestSampleIsUnbiased(t *testing.T) {
	const entries, seen, samples = 5000, 800, 600
	all := table(entries, 5)
	exact := count(all).Summary
	truth := float64(exact.TimeWait) / entries
	r := rand.New(rand.NewPCG(9, 9))
	var mean, square, claimed float64
	within := 0
	for range samples {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		s := count(all[:seen]).Summary
		s.Sampled = true
		off := float64(s.TimeWait)/seen - truth
		se := s.StandardError(s.TimeWait, entries)
		mean += off / samples
		square += off * off / samples
		claimed += se / samples
		if math.Abs(off) <= 2*se {
			within++
		}
	}
	sd := math.Sqrt(square)
	// The mean of the samples lies within four standard errors of the mean.
	if limit := 4 * sd / math.Sqrt(samples); math.Abs(mean) > limit {
		t.Errorf("biased by %.5f, more than %.5f", mean, limit)
	}
	if ratio := claimed / sd; ratio < 0.9 || ratio > 1.1 {
		t.Errorf("the standard error claimed is %.3f of the true one", ratio)
	}
	if share := float64(within) / samples; share < 0.92 || share > 0.98 {
		t.Errorf("%.3f of the samples are within two standard errors, want 0.95", share)
	}
}

func TestStandardError(t *testing.T) {
	for name, test := range map[string]struct {
		s          census.Summary
		n, entries uint64
		want       float64
	}{
		"all was seen":                      {census.Summary{Seen: 100}, 50, 100, 0},
		"a sample of all":                   {census.Summary{Seen: 100, Sampled: true}, 50, 100, 0},
		"more than there are":               {census.Summary{Seen: 120, Sampled: true}, 50, 100, 0},
		"half of a large table":             {census.Summary{Seen: 100, Sampled: true}, 50, 1 << 40, 0.0498},
		"half of the table seen":            {census.Summary{Seen: 100, Sampled: true}, 50, 200, 0.0352},
		"none of the kind":                  {census.Summary{Seen: 100, Sampled: true}, 0, 1 << 40, 0.0098},
		"all of the kind":                   {census.Summary{Seen: 100, Sampled: true}, 100, 1 << 40, 0.0098},
		"nothing seen":                      {census.Summary{Sampled: true}, 0, 100, 0.5},
		"nothing seen of nothing":           {census.Summary{Sampled: true}, 0, 0, 0},
		"more of the kind than were seen":   {census.Summary{Seen: 100, Sampled: true}, 500, 1 << 40, 0.0098},
		"a complete dump that is no sample": {census.Summary{Seen: 100}, 50, 1 << 40, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.s.StandardError(test.n, test.entries); math.Abs(got-test.want) > 0.0001 {
				t.Errorf("got %.4f, want %.4f", got, test.want)
			}
		})
	}
}

func TestJSONComesBack(t *testing.T) {
	c := count(table(2000, 1))
	text, err := json.Marshal(c.Make)
	if err != nil {
		t.Fatal(err)
	}
	var back census.Make
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.Make, back, cmp.AllowUnexported(census.Histogram{})); diff != "" {
		t.Errorf("make: -want +got\n%s", diff)
	}
	top := c.Top(5)
	if text, err = json.Marshal(top); err != nil {
		t.Fatal(err)
	}
	var talkers census.Talkers
	if err := json.Unmarshal(text, &talkers); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(top, talkers, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("talkers: -want +got\n%s", diff)
	}
	for _, bad := range []string{`{"ranges":[{"above_s":1,"up_to_s":10}]}`, `{"ranges":[{"above_s":10,"up_to_s":31}]}`, `{"ranges":[{"above_s":10}]}`} {
		if err := new(census.Histogram).UnmarshalJSON([]byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	for _, bad := range []string{"tcp", "tcp/65536", "/1", "what/80"} {
		if err := new(census.Port).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("port %q: no error", bad)
		}
	}
}
