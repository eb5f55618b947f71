package loop_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// A host has several namespaces under one max, the own one first.
type host struct {
	mu      sync.Mutex
	start   time.Time
	max     uint64
	fill    map[uint32]uint64 // entries by namespace
	order   []uint32
	applied []policy.Action
	records []recorded
}

// recorded is one record, its payload as Go prints it.
type recorded struct {
	kind record.Kind
	text string
}

func newHost(max uint64, order ...uint32) *host {
	return &host{start: time.Now(), max: max, fill: map[uint32]uint64{}, order: order}
}

func (h *host) now() policy.BootTime { return policy.BootTime(time.Since(h.start) + time.Hour) }

func (h *host) deps() loop.Deps {
	return loop.Deps{
		Now: func() (time.Time, policy.BootTime) { return time.Now(), h.now() },
		Observe: func(context.Context) ([]policy.Observation, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			var all []policy.Observation
			for _, netns := range h.order {
				o := policy.Observation{
					Now: h.now(), Memory: policy.Memory{Total: 64 << 30, Available: 32 << 30, EntryBytes: 256},
					Timeouts: conntrack.Timeouts{conntrack.UDP: 30}, Host: policy.Host{Tables: 1},
					Kernel: policy.Kernel{MaxWritable: true, BucketsWritable: true},
				}
				o.Table = conntrack.Table{NetNS: netns, Max: h.max, Entries: min(h.fill[netns], h.max), Buckets: 1 << 20}
				all = append(all, o)
			}
			return all, nil
		},
		Apply: func(_ context.Context, _ string, act policy.Action) policy.Outcome {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.applied = append(h.applied, act)
			if act.Type == policy.RaiseMax {
				h.max = act.To
			}
			return policy.Outcome{Action: act, OK: true, Before: act.From, After: act.To}
		},
		Record: func(payload record.Payload) error {
			record.Describe(payload)
			text := fmt.Sprintf("%+v", payload)
			h.mu.Lock()
			defer h.mu.Unlock()
			h.records = append(h.records, recorded{payload.Kind(), text})
			return nil
		},
		Name: func(netns uint32) string { return fmt.Sprintf("web-%d", netns) },
	}
}

func (h *host) set(fn func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fn()
}

// count counts the records of a kind that contain a text.
func (h *host) count(kind record.Kind, text string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, r := range h.records {
		if r.kind == kind && strings.Contains(r.text, text) {
			n++
		}
	}
	return n
}

// runHost runs the loop on a host while during runs.
func runHost(t *testing.T, h *host, lines *inbox, during func(*loop.Loop)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	d := loop.New(lines.connect(h.deps()), policy.Defaults(), nil)
	ended := make(chan struct{})
	go func() { defer close(ended); d.Run(ctx) }()
	during(d)
	cancel()
	<-ended
}

func TestAFullNamespaceRaisesMaxOfTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0, 7, 8)
		h.fill[0], h.fill[7] = 1_000, 97_000
		runHost(t, h, nil, func(d *loop.Loop) {
			time.Sleep(3 * time.Second)
			s := d.Status()
			var suffering []string
			for _, table := range s.Tables {
				if table.Incident != "" {
					suffering = append(suffering, table.Name)
				}
			}
			if diff := cmp.Diff([]string{"web-7"}, suffering); diff != "" {
				t.Errorf("namespaces with an incident (-want +got):\n%s", diff)
			}
			for _, table := range s.Tables {
				if table.State.Max.Original != 100_000 || table.State.Max.Written != h.max {
					t.Errorf("%s does not know who raised max: %+v", table.Name, table.State.Max)
				}
			}
		})
		for _, act := range h.applied {
			if act.Type != policy.RaiseMax || act.NetNS != 0 {
				t.Errorf("did %s in netns %d", act.Type, act.NetNS)
			}
		}
		if len(h.applied) == 0 {
			t.Error("max was not raised")
		}
	})
}

func TestAnIncidentClosesWithItsNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0, 7)
		h.fill[7] = 80_000
		runHost(t, h, nil, func(d *loop.Loop) {
			time.Sleep(3 * time.Second)
			if d.Status().Tables[1].Incident == "" {
				t.Error("no incident")
			}
			h.set(func() { h.order = []uint32{0} })
			time.Sleep(3 * time.Second)
			if n := len(d.Status().Tables); n != 1 {
				t.Errorf("%d tables", n)
			}
		})
		if n := h.count(record.KindIncidentClose, "closed: the namespace is gone, or has few entries (web-7)"); n != 1 {
			t.Errorf("%d incidents closed by the end of web-7, want 1", n)
		}
		if n := h.count(record.KindIncidentOpen, "opened (web-7)"); n != 1 {
			t.Errorf("%d incidents opened by name, want 1", n)
		}
		if opened, closed := h.count(record.KindIncidentOpen, ""), h.count(record.KindIncidentClose, ""); opened != closed {
			t.Errorf("%d incidents opened, %d closed", opened, closed)
		}
		if h.count(record.KindSample, "") == 0 {
			t.Error("the flight recorder was lost with the namespace")
		}
	})
}

func TestCloseIncidentsClosesEachOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0, 7)
		h.fill[7] = 80_000
		var running *loop.Loop
		runHost(t, h, nil, func(d *loop.Loop) {
			running = d
			time.Sleep(3 * time.Second)
		})
		if n := h.count(record.KindIncidentClose, ""); n != 0 {
			t.Errorf("a daemon that was stopped closed %d incidents, want 0: the next one goes on with them", n)
		}
		running.CloseIncidents("drill finished")
		running.CloseIncidents("finished twice")
		if n := h.count(record.KindIncidentClose, "closed: drill finished (web-7)"); n != 1 || h.count(record.KindIncidentClose, "") != 1 {
			t.Errorf("%d incidents closed by leaving, want 1", n)
		}
	})
}

func TestASignalIsAttributedToANewNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0)
		lines := newInbox()
		runHost(t, h, lines, func(d *loop.Loop) {
			time.Sleep(1500 * time.Millisecond)
			h.set(func() { h.order, h.fill[7] = []uint32{0, 7}, 100_000 })
			lines.add(policy.Signal{NetNS: 7, Named: true, Count: 3, Source: "kmsg"})
			lines.add(policy.Signal{NetNS: 7, Named: true, Count: 2, Source: "kmsg"})
			time.Sleep(100 * time.Millisecond)
			s := d.Status()
			if len(s.Tables) != 2 || s.Tables[1].Incident == "" {
				t.Fatalf("%d tables", len(s.Tables))
			}
			if s.Tables[0].Level != policy.Calm {
				t.Errorf("the own table is %s", s.Tables[0].Level)
			}
		})
		if n := h.count(record.KindSignal, "in netns 7"); n == 0 {
			t.Error("the line was not recorded")
		}
	})
}

// TestANamedSignalIsAttributedToItsNamespaceOnly: all of them are nearly full, and one was named.
// From Linux 6.17 on only the first namespace of the host has no number in the
// line, so that in a container the own one has.
func TestANamedSignalIsAttributedToItsNamespaceOnly(t *testing.T) {
	const container = 4026532000
	for name, c := range map[string]struct {
		own, named uint32
		want       map[uint32]policy.Level
	}{
		"another one's":          {0, 7, map[uint32]policy.Level{0: policy.High, 7: policy.Exhausted, 8: policy.High}},
		"the own of a container": {container, container, map[uint32]policy.Level{0: policy.Exhausted, 7: policy.High, 8: policy.High}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(100_000, 0, 7, 8)
				h.fill[0], h.fill[7], h.fill[8] = 93_000, 93_000, 93_000
				lines := newInbox()
				deps := h.deps()
				deps.Own = c.own
				got := map[uint32]policy.Level{}
				h.runWith(t, deps, full(), lines, nil, func(d *loop.Loop) {
					time.Sleep(time.Second)
					lines.add(policy.Signal{NetNS: c.named, Named: true, Count: 1, Source: "kmsg"})
					time.Sleep(100 * time.Millisecond)
					for _, table := range d.Status().Tables {
						got[table.NetNS] = table.Level
					}
				})
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("levels (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestANewTableInheritsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0)
		runHost(t, h, nil, func(d *loop.Loop) {
			time.Sleep(time.Second)
			if err := d.Pause(t.Context(), record.Requester{For: time.Hour}); err != nil {
				t.Error(err)
			}
			h.set(func() { h.order, h.fill[7] = []uint32{0, 7}, 99_000 })
			time.Sleep(10 * time.Second)
			if held := d.Status().Tables[1].Held; held != policy.HeldPaused {
				t.Errorf("held %s", held)
			}
		})
		if len(h.applied) > 0 {
			t.Errorf("acted in a pause: %+v", h.applied)
		}
	})
}

func TestANewTableInheritsTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0, 7)
		h.fill[7] = 99_000
		open := policy.State{SafetyPauseUntil: h.now().Add(time.Hour), SafetyPause: time.Hour}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		d := loop.New(h.deps(), policy.Defaults(), map[uint32]loop.Snapshot{0: {State: open}})
		d.Run(ctx)
		if held := d.Status().Tables[1].Held; held != policy.HeldBreaker || len(h.applied) > 0 {
			t.Errorf("held %q, acts %+v", held, h.applied)
		}
	})
}

func TestAHostWideActCountsInEachNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0, 7, 8)
		h.fill[0] = 97_000
		var own policy.State // of netns 7, which acted for itself alone
		for i := range 5 {
			own.CountAct(h.now().Add(time.Duration(i-10) * time.Minute))
		}
		ctx, cancel := context.WithCancel(t.Context())
		d := loop.New(h.deps(), policy.Defaults(), map[uint32]loop.Snapshot{7: {State: own}})
		ended := make(chan struct{})
		go func() { defer close(ended); d.Run(ctx) }()
		time.Sleep(3 * time.Second)
		cancel()
		<-ended
		raises := len(h.applied)
		if raises == 0 {
			t.Fatal("max was not raised")
		}
		got := map[uint32]int{}
		for _, table := range d.Status().Tables {
			for _, at := range table.State.Acts {
				if at != 0 {
					got[table.NetNS]++
				}
			}
		}
		if diff := cmp.Diff(map[uint32]int{0: raises, 7: 5 + raises, 8: raises}, got); diff != "" {
			t.Errorf("acts that the breaker counts (-want +got):\n%s", diff)
		}
	})
}

func TestAnExternalChangeOfMaxIsRecordedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0, 7, 8)
		h.fill[7] = 97_000
		runHost(t, h, nil, func(d *loop.Loop) {
			time.Sleep(3 * time.Second)
			h.set(func() { h.fill[7], h.max = 10_000, 90_000 })
			time.Sleep(3 * time.Second)
			for _, table := range d.Status().Tables {
				acts := 0
				for _, at := range table.State.Acts {
					if at != 0 {
						acts++
					}
				}
				if acts != len(h.applied) {
					t.Errorf("%s counts %d acts after %d: an external change is not an act", table.Name, acts, len(h.applied))
				}
			}
		})
		if n := h.count(record.KindOverride, ""); n != 1 {
			t.Errorf("reported %d times, want once", n)
		}
	})
}
