package tablesim_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

// All hosts boot in the same second, with a smaller hash than their budget
// permits, and two minutes later the same flood reaches all.
const fleetFlood = `about the same flood on every host of a fleet
memory 8GiB available 5GiB
kernel 6.1
max 262144
buckets 65536
run 40m
noise 10%
start tcp 20000
at 0s: tcp_short 200/s
at 0s: tcp 30/s
at 2m for 5m: syn_recv 6000/s
`

// newFleet returns a fleet whose hosts differ by this share in load and memory.
func newFleet(t *testing.T, differ conntrack.Permyriad) *tablesim.Fleet {
	t.Helper()
	s, err := tablesim.Parse("fleet", fleetFlood)
	if err != nil {
		t.Fatal(err)
	}
	return &tablesim.Fleet{Scenario: s, Spread: differ, Seed: 7}
}

type crowdsByAct [policy.NumActionTypes]tablesim.Crowd

// playFleet plays hosts, divided among the processors.
func playFleet(f *tablesim.Fleet, hosts int, limits policy.Limits) (all crowdsByAct, lost uint64) {
	workers := runtime.GOMAXPROCS(0)
	var acts tablesim.Acts
	var acted [policy.NumActionTypes]int
	var mu sync.Mutex
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			var mine tablesim.Acts
			var did [policy.NumActionTypes]int
			packets := f.Play(&limits, hosts*w/workers, hosts*(w+1)/workers, &mine, &did)
			mu.Lock()
			defer mu.Unlock()
			lost += packets
			for kind := range mine {
				acts[kind] = append(acts[kind], mine[kind]...)
				acted[kind] += did[kind]
			}
		})
	}
	group.Wait()
	for kind := range acts {
		all[kind] = tablesim.Gather(acts[kind], acted[kind])
	}
	return all, lost
}

// A fleetPair is the result of two runs of a fleet: without jitter and with it.
type fleetPair struct{ without, with crowdsByAct }

func playTwice(t *testing.T, differ conntrack.Permyriad, hosts int) (c fleetPair) {
	t.Helper()
	prompt := policy.Defaults()
	prompt.Jitter = policy.JitterLimits{}
	var lost [2]uint64
	c.without, lost[0] = playFleet(newFleet(t, differ), hosts, prompt)
	c.with, lost[1] = playFleet(newFleet(t, differ), hosts, policy.Defaults())
	if lost != [2]uint64{} {
		t.Errorf("%d packets lost without jitter, %d with it", lost[0], lost[1])
	}
	return c
}

// fleetHosts is how many hosts a test plays: the 10,000 of the table in
// docs/fleet.md take minutes, 400 some seconds.
func fleetHosts() int {
	switch {
	case os.Getenv("CTWARDEN_TEST_FLEET") == "1":
		return 10_000
	case os.Getenv("CTWARDEN_TEST_LONG") == "1":
		return 400
	}
	return 60
}

// All hosts of a fleet act on a flood at once. Acts that are not urgent are
// spread over time, even if all hosts are alike.
func TestHostsOfAFleetDoNotSynchronise(t *testing.T) {
	hosts := fleetHosts()
	alike, differ := playTwice(t, 0, hosts), playTwice(t, 5000, hosts)
	jitter := policy.Defaults().Jitter
	for name, c := range map[string]*fleetPair{"alike": &alike, "different": &differ} {
		for _, kind := range []policy.ActionType{policy.RaiseMax, policy.ShortenTimeout} {
			if diff := cmp.Diff(c.without[kind], c.with[kind]); diff != "" {
				t.Errorf("%s: jitter changes %s (-without +with):\n%s", name, kind, diff)
			}
		}
		for kind, most := range map[policy.ActionType]time.Duration{
			policy.ResizeHash: jitter.Start,
			// The wait for calm and the wait before each step are longer by a
			// share.
			policy.RestoreTimeout: time.Duration(jitter.Share.Of(uint64(c.without[policy.RestoreTimeout].Last - 7*time.Minute))),
		} {
			without, with := c.without[kind], c.with[kind]
			if with.Hosts != hosts || with.Acts != without.Acts {
				t.Errorf("%s: %s by %d of %d hosts, %d acts, %d without jitter", name, kind, with.Hosts, hosts, with.Acts, without.Acts)
			}
			// 60 hosts spread over a minute are one per second on average.
			if with.Peak > max(hosts/20, 5) {
				t.Errorf("%s: %s by %d of %d hosts in one second", name, kind, with.Peak, hosts)
			}
			if late := with.Last - without.Last; late < 0 || late > most+time.Second {
				t.Errorf("%s: the last %s is %s later than without jitter, more than %s", name, kind, late, most)
			}
		}
	}
	if got := alike.without[policy.ResizeHash].Peak; got != hosts {
		t.Errorf("without jitter %d of %d hosts resize in the same second", got, hosts)
	}
	compareFleetPage(t, hosts, &alike, &differ)
}

const fleetPagePath = "../../docs/fleet.md"

var fleetTableBlock = regexp.MustCompile("(?s)<!-- fleet -->\n.*?<!-- /fleet -->")

// compareFleetPage compares the table in docs/fleet.md with the runs; with
// -update it rewrites the table.
func compareFleetPage(t *testing.T, hosts int, alike, differ *fleetPair) {
	t.Helper()
	table := fleetTable(hosts, alike, differ)
	t.Log("\n" + table)
	if hosts < 10_000 {
		return
	}
	text, err := os.ReadFile(fleetPagePath)
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("CTWARDEN_TEST_VM") == "1" {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	want := fleetTableBlock.ReplaceAllLiteralString(string(text), "<!-- fleet -->\n"+table+"<!-- /fleet -->")
	if *update {
		if err := os.WriteFile(fleetPagePath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("CTWARDEN_TEST_FLEET=1 go test ./internal/tablesim -run Synchronise -update (-want +got):\n%s", diff)
	}
}

func fleetTable(hosts int, alike, differ *fleetPair) string {
	var b strings.Builder
	b.WriteString("| act | acts | hosts alike | alike, jitter | hosts that differ | differing, jitter | first to last of these |\n|---|--:|--:|--:|--:|--:|---|\n")
	share := func(c *tablesim.Crowd) string {
		return fmt.Sprintf("%.1f %%", 100*float64(c.Peak)/float64(hosts))
	}
	for _, kind := range []policy.ActionType{policy.ResizeHash, policy.RaiseMax, policy.ShortenTimeout, policy.RestoreTimeout} {
		c := &differ.with[kind]
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s | %s | %s | %s to %s |\n", kind, c.Acts,
			share(&alike.without[kind]), share(&alike.with[kind]), share(&differ.without[kind]), share(c),
			max(c.First, 0).Round(time.Second), c.Last.Round(time.Second))
	}
	return b.String()
}

func TestAHostOfAFleetIsReproducible(t *testing.T) {
	f := newFleet(t, 5000)
	if !reflect.DeepEqual(f.Host(3), f.Host(3)) {
		t.Error("host 3 differs between two calls")
	}
	if reflect.DeepEqual(f.Host(3), f.Host(4)) {
		t.Error("hosts 3 and 4 are equal")
	}
	times, phases := map[time.Duration]bool{}, map[conntrack.Permyriad]bool{}
	for number := range 20 {
		host := f.Host(number)
		at := host.Loads[2].At
		times[at], phases[host.Machine.Jitter] = true, true
		if at < 2*time.Minute || at >= 2*time.Minute+time.Second {
			t.Errorf("the flood reaches host %d at %s", number, at)
		}
	}
	if len(times) < 20 || len(phases) < 20 {
		t.Errorf("20 hosts sample at %d times within a second, and have %d phases", len(times), len(phases))
	}
	if before := f.Scenario.Loads[2].At; before != 2*time.Minute || f.Scenario.Start[0].Entries != 20000 {
		t.Error("making a host changed the fleet")
	}
}

func TestGather(t *testing.T) {
	s := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	got := tablesim.Gather([]time.Duration{s(9), s(1), s(1.9), s(1.5), s(2), s(5), s(5.5), s(20)}, 4)
	want := tablesim.Crowd{Hosts: 4, Acts: 8, First: s(1), Last: s(20), Middle: s(7.1), Peak: 3, PeakAt: s(1)}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := tablesim.Gather(nil, 0); got != (tablesim.Crowd{}) {
		t.Errorf("Gather of no acts: %+v", got)
	}
}
