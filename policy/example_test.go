package policy_test

import (
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// nearlyFull is a reading of a table of 100,000 that holds 90,000 entries, on a
// host with memory to spare.
func nearlyFull() policy.Observation {
	return policy.Observation{
		Now:      policy.BootTime(time.Hour),
		Table:    conntrack.Table{Entries: 90_000, Max: 100_000, Buckets: 262_144},
		Timeouts: conntrack.DefaultTimeouts(),
		Memory:   policy.Memory{Total: 16 << 30, Available: 8 << 30, EntryBytes: 256},
		Kernel:   policy.Kernel{MaxWritable: true, BucketsWritable: true, TimeoutsWritable: true, Entries: true},
	}
}

// Assess compares an observation with the limits and with what is remembered.
func ExampleLimits_Assess() {
	limits, state, o := policy.Defaults(), policy.State{}, nearlyFull()

	a := limits.Assess(&state, &o)
	fmt.Println("level:", a.Level)
	fmt.Println("fullness:", policy.Percent(a.Fullness))
	fmt.Println("growing:", a.FullIn != policy.Never)

	// Output:
	// level: high
	// fullness: 90.0%
	// growing: false
}

// Decide returns actions, or the reason why there are none.
func ExampleLimits_Decide() {
	limits, state, o := policy.Defaults(), policy.State{}, nearlyFull()

	a := limits.Assess(&state, &o)
	p := limits.Decide(&state, &a)
	for i := range p.Actions {
		act := &p.Actions[i]
		fmt.Printf("%s from %d to %d, reason %s\n", act.Type, act.From, act.To, act.Reason)
	}

	state.Pause(o.Now, time.Hour)
	p = limits.Decide(&state, &a)
	fmt.Printf("%d actions, held: %s\n", len(p.Actions), p.Held)

	// Output:
	// raise_max from 100000 to 150000, reason nearly_full
	// 0 actions, held: paused
}

// Next remembers a plan and its outcomes. Here it remembers what max was, so
// that another value than the one written is known to be somebody else's.
func ExampleState_Next() {
	limits, state, o := policy.Defaults(), policy.State{}, nearlyFull()

	a := limits.Assess(&state, &o)
	p := limits.Decide(&state, &a)
	act := p.Actions[0]
	outcome := policy.Outcome{Action: act, OK: true, Before: act.From, After: act.To}
	state = state.Next(&limits, &p, []policy.Outcome{outcome})
	fmt.Printf("max: original %d, written %d\n", state.Max.Original, state.Max.Written)

	o.Now, o.Table.Max = o.Now.Add(time.Second), 120_000
	a = limits.Assess(&state, &o)
	p = limits.Decide(&state, &a)
	state = state.Next(&limits, &p, nil)
	fmt.Printf("held: %s for %s\n", p.Held, state.Max.YieldUntil.Since(o.Now))

	// Output:
	// max: original 100000, written 150000
	// held: yielded for 1h0m0s
}
