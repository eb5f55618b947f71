package policy_test

import (
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// Each test in this file fails for a mutant of the policy that all other tests
// let pass.

// A judged is an act, and the figures before it, at the first observation after
// it, and at its horizon.
type judged struct {
	act                 policy.ActionType
	to, changed         uint64
	before, base, after policy.Readings
}

// judge returns the verdict on an act with these figures.
func judge(t *testing.T, j judged) policy.Result {
	t.Helper()
	l := policy.Defaults()
	o := steadyObservations()["calm"]
	o.Table.Entries, o.Table.Max, o.Table.Counters = j.after.Entries, j.after.Max, j.after.Counters
	s := policy.State{Level: policy.Elevated}
	j.before.At, j.base.At = o.Now-policy.BootTime(time.Hour/2), o.Now-policy.BootTime(time.Hour/3)
	s.Records[j.act] = policy.Record{
		At: j.before.At, Acts: 1, Waiting: true, WaitUntil: o.Now, Before: j.before, Base: j.base, To: j.to, Changed: j.changed,
	}
	s.Trend = policy.Trend{At: o.Now - policy.BootTime(time.Second), Entries: j.after.Entries, Counters: j.after.Counters, Fast: j.after.Rate, Slow: j.after.Rate}
	a := l.Assess(&s, &o)
	p := l.Decide(&s, &a)
	if len(p.Verdicts) != 1 {
		t.Fatalf("%d verdicts, want one", len(p.Verdicts))
	}
	return p.Verdicts[0].Result
}

func TestVerdicts(t *testing.T) {
	lost := conntrack.Counters{Drop: 50}
	clashed := conntrack.Counters{Drop: 50, InsertFailed: 50}
	tests := map[string]struct {
		judged
		want policy.Result
	}{
		"a raise that holds helped": {
			judged{policy.RaiseMax, 200_000, 0, policy.Readings{Entries: 97_000, Max: 100_000}, policy.Readings{}, policy.Readings{Entries: 99_000, Max: 200_000}},
			policy.Helped,
		},
		"a raise that another program undid had no effect": {
			judged{policy.RaiseMax, 200_000, 0, policy.Readings{Entries: 97_000, Max: 100_000}, policy.Readings{}, policy.Readings{Entries: 99_000, Max: 199_999}},
			policy.NoEffect,
		},
		"a raise that was filled at once helped": {
			judged{policy.RaiseMax, 200_000, 0, policy.Readings{Entries: 97_000, Max: 100_000}, policy.Readings{}, policy.Readings{Entries: 200_000, Max: 200_000, Counters: lost}},
			policy.Helped,
		},
		"a raise after which packets are lost with room had no effect": {
			judged{policy.RaiseMax, 200_000, 0, policy.Readings{Entries: 97_000, Max: 100_000}, policy.Readings{}, policy.Readings{Entries: 100_000, Max: 200_000, Counters: lost}},
			policy.NoEffect,
		},
		"insert conflicts after a raise do not count": {
			judged{policy.RaiseMax, 200_000, 0, policy.Readings{Entries: 97_000, Max: 100_000}, policy.Readings{}, policy.Readings{Entries: 100_000, Max: 200_000, Counters: clashed}},
			policy.Helped,
		},
		"losses before the first observation do not count": {
			judged{policy.RaiseMax, 200_000, 0, policy.Readings{Entries: 97_000, Max: 100_000}, policy.Readings{Counters: lost}, policy.Readings{Entries: 100_000, Max: 200_000, Counters: lost}},
			policy.Helped,
		},
		"a deletion helped if half of the entries are still gone": {
			judged{policy.DeleteEntries, 0, 20_000, policy.Readings{Entries: 97_000, Max: 100_000}, policy.Readings{}, policy.Readings{Entries: 87_000, Max: 100_000}},
			policy.Helped,
		},
		"a deletion of less than 1 % had no effect": {
			judged{policy.DeleteEntries, 0, 969, policy.Readings{Entries: 97_000, Max: 100_000}, policy.Readings{}, policy.Readings{Entries: 87_000, Max: 100_000}},
			policy.NoEffect,
		},
		"a deletion is inconclusive after as many arrivals": {
			judged{policy.DeleteEntries, 0, 20_000, policy.Readings{Entries: 97_000, Max: 100_000}, policy.Readings{}, policy.Readings{Entries: 87_001, Max: 100_000}},
			policy.Inconclusive,
		},
		"a deletion is worse if the table grew and packets were lost": {
			judged{policy.DeleteEntries, 0, 20_000, policy.Readings{Entries: 97_000, Max: 100_000}, policy.Readings{}, policy.Readings{Entries: 97_001, Max: 100_000, Counters: lost}},
			policy.Worse,
		},
		"ageing that freed a hundredth of max helped": {
			judged{policy.AgeEntries, 0, 20_000, policy.Readings{Entries: 97_000, Max: 100_000}, policy.Readings{}, policy.Readings{Entries: 96_000, Max: 100_000}},
			policy.Helped,
		},
		"ageing that freed less had no effect": {
			judged{policy.AgeEntries, 0, 20_000, policy.Readings{Entries: 97_000, Max: 100_000}, policy.Readings{}, policy.Readings{Entries: 96_001, Max: 100_000}},
			policy.NoEffect,
		},
		"ageing while max changed is inconclusive": {
			judged{policy.AgeEntries, 0, 20_000, policy.Readings{Entries: 97_000, Max: 100_000}, policy.Readings{}, policy.Readings{Entries: 50_000, Max: 100_001}},
			policy.Inconclusive,
		},
		"ageing is worse if the table grew and packets were lost": {
			judged{policy.AgeEntries, 0, 20_000, policy.Readings{Entries: 97_000, Max: 100_000}, policy.Readings{}, policy.Readings{Entries: 98_000, Max: 100_000, Counters: lost}},
			policy.Worse,
		},
		"shortening after which the table grows half as fast helped": {
			judged{policy.ShortenTimeout, 0, 0, policy.Readings{Entries: 80_000, Max: 100_000, Rate: 1000}, policy.Readings{}, policy.Readings{Entries: 90_000, Max: 100_000, Rate: 400}},
			policy.Helped,
		},
		"shortening after which it grows as before had no effect": {
			judged{policy.ShortenTimeout, 0, 0, policy.Readings{Entries: 80_000, Max: 100_000, Rate: 1000}, policy.Readings{}, policy.Readings{Entries: 90_000, Max: 100_000, Rate: 900}},
			policy.NoEffect,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := judge(t, test.judged); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

// The first observation after an act is the base of its verdict, and gives no
// verdict, however late it is.
func TestTheFirstObservationAfterAnActIsItsBase(t *testing.T) {
	l := policy.Defaults()
	o := steadyObservations()["calm"]
	o.Table.Entries = 97_000
	s := policy.State{Level: policy.Exhausted}
	s.Records[policy.RaiseMax] = policy.Record{
		At: o.Now - policy.BootTime(time.Minute), Acts: 1, Waiting: true, WaitUntil: o.Now - policy.BootTime(time.Second), To: 100_000,
	}
	for n, want := range []int{0, 1} {
		a := l.Assess(&s, &o)
		p := l.Decide(&s, &a)
		if len(p.Verdicts) != want {
			t.Errorf("observation %d: %d verdicts, want %d", n+1, len(p.Verdicts), want)
		}
		s = s.Next(&l, &p, nil)
		o.Now = o.Now.Add(time.Second)
	}
}

// The budget is the same for an empty and a full table: the memory of its
// entries counts as available.
func TestTheBudgetDoesNotShrinkAsTheTableFills(t *testing.T) {
	l := policy.Defaults()
	budget := func(entries uint64) uint64 {
		o := steadyObservations()["calm"]
		o.Table.Entries, o.Host = entries, policy.Host{Entries: entries, Tables: 1}
		o.Memory.Available = 500<<20 - entries*uint64(o.Memory.EntryBytes+l.Budget.ExtensionBytes)
		a := l.Assess(&policy.State{}, &o)
		return a.Budget.Max
	}
	if empty, full := budget(0), budget(100_000); empty != full {
		t.Errorf("max within the budget is %d with an empty table and %d with a full one", empty, full)
	}
}

// A resize in a storm needs long chains and a short stall.
func TestTheHashIsResizedInAStormWhereChainsWouldBeLong(t *testing.T) {
	tests := map[string]struct {
		buckets, entries uint64
		resized          bool
	}{
		"max is 8 times the buckets":                   {12_288, 96_000, true},
		"max is less than 8 times the buckets":         {12_800, 96_000, false},
		"as many entries as the permitted stall moves": {12_288, 165_562, true},
		"one more": {12_288, 165_563, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l := policy.Defaults()
			o := steadyObservations()["calm"]
			o.Table.Max, o.Table.Buckets, o.Table.Entries = 98_304, test.buckets, 96_000
			o.Host = policy.Host{Entries: test.entries, Tables: 1}
			s := policy.State{Level: policy.Exhausted}
			s.Records[policy.RaiseMax].Banned = true
			a := l.Assess(&s, &o)
			p := l.Decide(&s, &a)
			if p.Acts() != test.resized || p.Acts() && p.Actions[0].Type != policy.ResizeHash {
				t.Errorf("actions %+v, held %q", p.Actions, p.Held)
			}
		})
	}
}

func TestTheHashIsResizedOnceADayAtMost(t *testing.T) {
	for since, resized := range map[time.Duration]bool{24*time.Hour - time.Nanosecond: false, 24 * time.Hour: true} {
		l := policy.Defaults()
		o := steadyObservations()["calm"]
		o.Now, o.Table.Buckets = policy.BootTime(48*time.Hour), 16_384
		s := policy.State{LastResize: o.Now - policy.BootTime(since)}
		a := l.Assess(&s, &o)
		if p := l.Decide(&s, &a); p.Acts() != resized {
			t.Errorf("%s after the last: actions %+v, held %q", since, p.Actions, p.Held)
		}
	}
}

func TestAnAbsentTableHasNoCause(t *testing.T) {
	l := policy.Defaults()
	o := steadyObservations()["calm"]
	o.Absent = true
	// The state still has the rates from before the unload.
	s := policy.State{Trend: policy.Trend{At: o.Now - policy.BootTime(time.Second), Chains: 100, Failed: 100, Dropped: 100}}
	if a := l.Assess(&s, &o); a.Cause != policy.NoCause || a.Level != policy.Calm {
		t.Errorf("%s, %s", a.Level, a.Cause)
	}
	o.Absent = false
	if a := l.Assess(&s, &o); a.Cause != policy.LongChains {
		t.Errorf("not absent: %s", a.Cause)
	}
}

func TestResumeClearsEveryPause(t *testing.T) {
	s := policy.State{SafetyPauseUntil: 5, SafetyPause: time.Hour, PausedUntil: 7}
	s.Resume()
	if s.SafetyPauseUntil != 0 || s.SafetyPause != 0 || s.PausedUntil != 0 {
		t.Errorf("%d, %s, %d", s.SafetyPauseUntil, s.SafetyPause, s.PausedUntil)
	}
}

func TestTheHashIsResizedInCalmWithRoomOnly(t *testing.T) {
	l := policy.Defaults()
	o := steadyObservations()["calm"]
	o.Table.Max, o.Table.Buckets = 100_000, 8192
	s := policy.State{Since: 1, CalmSince: 1}
	for entries, acts := range map[uint64]int{50_000: 1, 50_010: 0, 59_000: 0} {
		o.Table.Entries, o.Host.Entries = entries, entries
		s.Trend = policy.Trend{At: o.Now - policy.BootTime(time.Second), Entries: entries}
		a := l.Assess(&s, &o)
		p := l.Decide(&s, &a)
		if a.Level != policy.Calm || len(p.Actions) != acts {
			t.Errorf("%d entries: %s, %+v, held: %s", entries, a.Level, p.Actions, p.Held)
		}
	}
}

// A rate is per second, whatever the interval is.
func TestRatesArePerSecond(t *testing.T) {
	l := policy.Defaults()
	o := steadyObservations()["calm"]
	for _, interval := range []time.Duration{50 * time.Millisecond, time.Second, 4 * time.Second} {
		var s policy.State
		c := conntrack.Counters{}
		trend := policy.Trend{}
		now := o.Now
		for range 3000 {
			// 100 of each per second.
			n := uint64(100 * interval.Seconds())
			c.EarlyDrop += n
			c.ChainTooLong += n
			c.InsertFailed += 2 * n // half of them for another reason than long chains; drop counts all
			c.Drop += 2 * n
			now = now.Add(interval)
			o.Now, o.Table.Counters = now, c
			s.Trend = trend
			trend = l.Assess(&s, &o).Trend
		}
		for name, rate := range map[string]float64{
			"dropped": trend.Dropped, "evicted": trend.Evicted, "failed": trend.Failed / 2, "chains": trend.Chains,
		} {
			if rate < 99 || rate > 101 {
				t.Errorf("interval %s: %s %.1f per second, want 100", interval, name, rate)
			}
		}
	}
}

// The entries, the present hash and a hash at the largest permitted ratio fit
// the budget, and a few more entries do not.
func TestTheBudgetIsKeptAndUsed(t *testing.T) {
	for ratio := uint64(1); ratio <= 8; ratio++ {
		l := policy.Defaults()
		l.Hash.MaxRatio, l.Hash.StormRatio = ratio, 16
		l.Raise.Ceiling = 1 << 30
		o := steadyObservations()["calm"]
		var s policy.State
		b := l.Assess(&s, &o).Budget
		const bucket = 8.0 // bytes
		size := func(most uint64) float64 {
			return float64(most)*float64(b.PerEntry) + bucket*float64(most)/float64(ratio) + bucket*float64(o.Table.Buckets)
		}
		if size(b.Max) > float64(b.Bytes) {
			t.Errorf("ratio %d: %d entries take %.0f of %d bytes", ratio, b.Max, size(b.Max), b.Bytes)
		}
		if more := b.Max + b.Max/400; size(more) <= float64(b.Bytes) {
			t.Errorf("ratio %d: the budget permits %d entries, and %d fit", ratio, b.Max, more)
		}
	}
}

// A deletion needs exactly the idle time with its margin, and exactly the
// smallest share that counts as an effect.
func TestDeletionAtItsBounds(t *testing.T) {
	l := policy.Defaults()
	const margin = 3 * time.Second // a dump has whole seconds
	for _, c := range []struct {
		watched   time.Duration
		deletable uint64
		held      policy.Hold
	}{
		{l.Delete.SynSentIdle + margin, 10, policy.NotHeld},
		{l.Delete.SynSentIdle + margin - 1, 10, policy.HeldAwaiting},
		{l.Delete.SynSentIdle + margin, 9, policy.HeldNothingEligible},
	} {
		o := steadyObservations()["calm"]
		o.Table.Entries = 97_000
		o.Timeouts = conntrack.Timeouts{conntrack.UDP: 20, conntrack.TCPSynSent: 30, conntrack.TCPSynRecv: 30}
		o.Census.Seen, o.Census.HalfOpen, o.Census.Unreplied, o.Census.Deletable = 1000, 900, 900, c.deletable
		o.CensusAt = o.Now
		s := policy.State{Level: policy.Exhausted, Since: o.Now.Add(-c.watched), LastAct: 1, IncidentSince: 1}
		s.Records[policy.RaiseMax] = policy.Record{At: 1, Acts: 1, Banned: true}
		a := l.Assess(&s, &o)
		p := l.Decide(&s, &a)
		if acts := len(p.Actions) == 1 && p.Actions[0].Type == policy.DeleteEntries; acts != (c.held == policy.NotHeld) {
			t.Errorf("observed for %s, %d deletable: %+v, held: %s", c.watched, c.deletable, p.Actions, p.Held)
		}
		for _, r := range p.Steps {
			if r.Type == policy.DeleteEntries && r.Held != c.held {
				t.Errorf("observed for %s, %d deletable: the step is held: %s, want %s", c.watched, c.deletable, r.Held, c.held)
			}
		}
	}
}
