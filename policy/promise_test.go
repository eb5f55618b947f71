package policy_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

// A random load has at most maxSteps steps of stepLength, and then calm for
// quiet.
const (
	stepLength = 10 * time.Second
	quiet      = 50 * time.Minute
	maxSteps   = 40
)

// decodeScenario turns bytes into a host and a load: four bytes choose the host,
// and each further two bytes what happens in the next ten seconds.
func decodeScenario(data []byte) *tablesim.Scenario {
	at := func(i int) byte {
		if i < len(data) {
			return data[i]
		}
		return 0
	}
	releases := [...]tablesim.Release{{Major: 3, Minor: 10}, {Major: 4, Minor: 18}, {Major: 5, Minor: 10}, {Major: 6, Minor: 1}, {Major: 6, Minor: 17}, {Major: 7, Minor: 0}}
	memory := uint64(256<<20) << (at(1) % 6)
	s := &tablesim.Scenario{
		Name: "program", Seed: uint64(at(3)), Noise: conntrack.Permyriad(at(3)) * 20,
		Machine: tablesim.Machine{
			Memory: memory, Available: memory / 2, Kernel: releases[int(at(0))%len(releases)],
			Max: 4096 << (at(2) % 6), Buckets: 1024 << (at(2) >> 4 % 8),
			NetNS: []tablesim.NetNS{{Name: "other", Inode: 4026532177}},
			// Every host of a fleet keeps the promises.
			Jitter: conntrack.Permyriad(at(2)) * 40,
		},
		Start: []tablesim.Start{{Class: tablesim.TCP, Entries: 500}},
	}
	if at(3)&1 == 1 {
		s.Start = append(s.Start, tablesim.Start{Class: tablesim.TCPIdle, Entries: 1000, Idle: 30 * time.Hour})
	}
	now := time.Duration(0)
	for i := 4; i+1 < len(data) && now < maxSteps*stepLength; i += 2 {
		addStep(s, now, data[i], data[i+1])
		now += stepLength
	}
	s.Run = now + quiet
	if at(3)&6 == 6 {
		// Insert conflicts all the time are ordinary on a busy gateway.
		s.Loads = append(s.Loads, tablesim.Load{For: s.Run, Class: tablesim.Clash, Rate: 5, To: 5})
	}
	return s
}

// addStep adds one step: mostly a load, sometimes an event.
func addStep(s *tablesim.Scenario, now time.Duration, what, value byte) {
	event := func(e tablesim.Event) {
		e.At = now
		s.Events = append(s.Events, e)
	}
	knob := tablesim.Knob{Part: tablesim.PartMax}
	switch {
	case what < 200:
		classes := [...]tablesim.Class{
			tablesim.UDPUnreplied, tablesim.UDPReplied, tablesim.DNS, tablesim.Syn, tablesim.SynRecv,
			tablesim.TCPShort, tablesim.TCPShort, tablesim.TCP, tablesim.TCPIdle, tablesim.Clash,
		}
		c := classes[int(what)%len(classes)]
		l := tablesim.Load{At: now, For: stepLength * time.Duration(1+what/50), Class: c, Lasting: c.Duration()}
		l.Rate = float64(value) * float64(value) / 8
		l.To = l.Rate * float64(1+what%3) / 2
		if what%16 == 0 {
			l.NetNS = "other"
		}
		s.Loads = append(s.Loads, l)
	case what < 210:
		event(tablesim.Event{Type: tablesim.SetKnob, Knob: knob, Value: 2048 * uint64(value)})
	case what < 215:
		event(tablesim.Event{Type: tablesim.MultiplyKnob, Knob: knob, Value: 2})
	case what < 222:
		knob = tablesim.Knob{Part: tablesim.PartTimeouts, Timeout: conntrack.TCPTimeWait}
		if what%2 == 0 {
			knob.Timeout = conntrack.UDP
		}
		event(tablesim.Event{Type: tablesim.SetKnob, Knob: knob, Value: 5 + uint64(value)})
	case what < 226:
		event(tablesim.Event{Type: tablesim.SetMemory, Value: uint64(value) << 20})
	case what < 230:
		event(tablesim.Event{Type: tablesim.SetPressure, Value: uint64(value) * 20})
	case what < 234:
		event(tablesim.Event{Type: tablesim.LogNoise, Value: uint64(value)})
	case what < 238:
		event(tablesim.Event{Type: tablesim.StepBoot, Span: -time.Duration(value) * time.Minute})
	case what < 241:
		event(tablesim.Event{Type: tablesim.StepWall, Span: -time.Duration(value) * time.Hour})
	case what < 243:
		event(tablesim.Event{Type: tablesim.Reboot})
	case what < 246:
		event(tablesim.Event{Type: tablesim.Unload})
	case what < 250:
		event(tablesim.Event{Type: tablesim.Reload})
	case what < 252:
		event(tablesim.Event{Type: tablesim.Pause, Span: time.Duration(1+value) * time.Second})
	case what < 254:
		event(tablesim.Event{Type: tablesim.Resume})
	}
}

// coarseLimits are the default limits with longer sampling intervals: a fuzzer
// gives up on an input that takes long.
func coarseLimits() policy.Limits {
	l := policy.Defaults()
	l.Sampling = policy.SampleLimits{Calm: 15 * time.Second, High: 2 * time.Second, Min: time.Second}
	return l
}

// checkPromises plays a scenario and checks every promise at every turn.
func checkPromises(t *testing.T, s *tablesim.Scenario, l policy.Limits) {
	t.Helper()
	w := checker{t: t, limits: &l, scenario: s}
	tablesim.Simulate(s, &l, w.visit)
	w.checkGivenBack()
	if t.Failed() {
		t.Logf("scenario:\n%s", s)
	}
}

func FuzzPromises(f *testing.F) {
	for _, data := range randomPrograms(16) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkPromises(t, decodeScenario(data), coarseLimits()) })
}

func TestPromises(t *testing.T) {
	t.Parallel()
	for _, data := range randomPrograms(share(400, 50)) {
		t.Run(fmt.Sprintf("%x", data), func(t *testing.T) { checkPromises(t, decodeScenario(data), coarseLimits()) })
	}
}

// share returns all under `make long`, and few otherwise: `go test ./policy` runs
// after every change of the policy.
func share[N any](all, few N) N {
	if os.Getenv("CTWARDEN_TEST_LONG") == "1" {
		return all
	}
	return few
}

// randomPrograms returns n inputs of decodeScenario from a fixed seed.
func randomPrograms(n int) [][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	programs := make([][]byte, n)
	for i := range programs {
		data := make([]byte, 4+2*random.IntN(maxSteps))
		for j := 0; j+8 <= len(data); j += 8 {
			binary.LittleEndian.PutUint64(data[j:], random.Uint64())
		}
		if i%3 > 0 { // loads only: an event ends most incidents early
			for j := 4; j < len(data); j += 2 {
				data[j] %= 200
			}
		}
		programs[i] = data
	}
	return programs
}

// Days of random load, at the default sampling intervals.
func TestPromisesHoldForADay(t *testing.T) {
	t.Parallel()
	day := share(24*time.Hour, 6*time.Hour)
	for seed := range share[uint64](3, 1) {
		if checkPromises(t, randomLoad(seed, day), policy.Defaults()); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// randomLoad returns a load of duration d. Its last two hours are calm, so that
// every timeout is restored at the end.
func randomLoad(seed uint64, d time.Duration) *tablesim.Scenario {
	random := rand.New(rand.NewPCG(seed, 24))
	s := decodeScenario([]byte{byte(random.Uint32()), 4 + byte(random.IntN(2)), byte(random.Uint32()), byte(random.Uint32())})
	s.Run = d
	for range 40 {
		at := time.Duration(random.Int64N(int64(d - 2*time.Hour)))
		addStep(s, at.Truncate(time.Second), byte(random.IntN(200)), byte(random.IntN(256)))
		l := &s.Loads[len(s.Loads)-1]
		l.For = time.Duration(1+random.IntN(20)) * time.Minute
		l.Rate, l.To = l.Rate/8, l.To/8
	}
	for range 6 {
		at := time.Duration(random.Int64N(int64(d - 2*time.Hour)))
		addStep(s, at.Truncate(time.Second), 200+byte(random.IntN(30)), byte(random.IntN(256)))
	}
	return s
}
