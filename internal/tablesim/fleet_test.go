package tablesim_test

import (
	"os"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

const fleetFlood = `about the same flood on every host of a fleet
memory 8GiB available 5GiB
kernel 6.1
max 262144
buckets 262144
run 32m
noise 10%
start tcp 20000
at 0s: tcp_short 200/s
at 0s: tcp 30/s
at 2m for 5m: syn_recv 6000/s
`

func fleet(t *testing.T) *tablesim.Fleet {
	t.Helper()
	s, err := tablesim.Parse("fleet", fleetFlood)
	if err != nil {
		t.Fatal(err)
	}
	return &tablesim.Fleet{Scenario: s, Spread: 5000, Seed: 7}
}

// playFleet plays so many hosts on every processor.
func playFleet(f *tablesim.Fleet, hosts int, limits policy.Limits) (crowds [policy.NumActionTypes]tablesim.Crowd, lost uint64) {
	workers := runtime.GOMAXPROCS(0)
	var all tablesim.Acts
	var acted [policy.NumActionTypes]int
	var mu sync.Mutex
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			var acts tablesim.Acts
			var did [policy.NumActionTypes]int
			packets := f.Play(&limits, hosts*w/workers, hosts*(w+1)/workers, &acts, &did)
			mu.Lock()
			defer mu.Unlock()
			lost += packets
			for kind := range acts {
				all[kind] = append(all[kind], acts[kind]...)
				acted[kind] += did[kind]
			}
		})
	}
	group.Wait()
	for kind := range all {
		crowds[kind] = tablesim.Gather(all[kind], acted[kind])
	}
	return crowds, lost
}

// TestHostsOfAFleetDoNotSynchronise: what a flood does to all hosts at once,
// they answer at once, each for itself; but they do not march in step after it.
func TestHostsOfAFleetDoNotSynchronise(t *testing.T) {
	hosts := 400
	if os.Getenv("CTWARDEN_TEST_FLEET") == "1" {
		hosts = 10_000
	}
	begun := time.Now()
	crowds, lost := playFleet(fleet(t), hosts, policy.Defaults())
	t.Logf("%d hosts in %s, %d packets lost", hosts, time.Since(begun).Round(time.Second), lost)
	for kind, c := range crowds {
		share := func(n int) float64 { return float64(n) / float64(hosts) }
		if share(c.Peak) > 0.4 {
			t.Errorf("%s: %d of %d hosts act in one second", policy.ActionType(kind), c.Peak, hosts)
		}
		if c.Acts > 0 {
			t.Logf("%-16s by %5d hosts, %6d acts from %s to %s, half of them within %s; at most %d in one second (%.1f %%, at %s)",
				policy.ActionType(kind), c.Hosts, c.Acts, c.First, c.Last, c.Middle, c.Peak, 100*float64(c.Peak)/float64(hosts), c.PeakAt)
		}
	}
}

func TestWhatIsGivenBackIsGivenBackOneAfterTheOther(t *testing.T) {
	const hosts = 200
	crowds, lost := playFleet(fleet(t), hosts, policy.Defaults())
	c := crowds[policy.RestoreTimeout]
	if c.Hosts != hosts || c.Peak > hosts/4 || c.Last-c.First < 5*time.Minute {
		t.Errorf("%+v", c)
	}
	if lost > 0 {
		t.Errorf("%d packets lost", lost)
	}
}

func TestAHostOfAFleetIsAlwaysTheSame(t *testing.T) {
	f := fleet(t)
	if !reflect.DeepEqual(f.Host(3), f.Host(3)) {
		t.Error("host 3 is not host 3")
	}
	if reflect.DeepEqual(f.Host(3), f.Host(4)) {
		t.Error("host 3 is host 4")
	}
	phases := map[time.Duration]bool{}
	for number := range 20 {
		at := f.Host(number).Loads[2].At
		phases[at] = true
		if at < 2*time.Minute || at >= 2*time.Minute+time.Second {
			t.Errorf("the flood comes to host %d at %s", number, at)
		}
	}
	if len(phases) < 20 {
		t.Errorf("20 hosts look at %d moments of a second", len(phases))
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
		t.Errorf("nothing gathers to %+v", got)
	}
}
