package remediate

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/sandbox"
)

// TestDeletionSparesRealTraffic deletes while real connections carry data and
// others come and go. Unlike TestDeletionSparesWhatItMust it makes no entry by
// hand.
func TestDeletionSparesRealTraffic(t *testing.T) {
	const old, again = 4000, 2000 // of the flood, and those of it that speak up again
	stage, err := sandbox.New()
	if errors.Is(err, os.ErrPermission) && os.Getuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN and CAP_NET_ADMIN to make a network namespace: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stage.Close() })
	writeTimeout(t, stage.NS, conntrack.UDP, 600)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var traffic sync.WaitGroup
	defer traffic.Wait()
	defer cancel()

	flows, err := sandbox.NewLongConns(stage.NS, 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flows.Close() })
	traffic.Go(func() { flows.Run(ctx, time.Millisecond) })
	answered := answers(t, stage.NS, 30)
	flood(t, stage.NS, old)
	// As if five minutes had passed since.
	aged, err := ctnetlink.Sweep{NS: stage.NS, Limit: 2 * old}.Age(t.Context(), func(e *conntrack.Entry) (uint32, bool) {
		return 300, e.Status.Unreplied()
	})
	if err != nil || aged.Done < old {
		t.Fatalf("aged %+v, %v", aged, err)
	}
	b := benchIn(t, stage.NS, conntrack.Protect{Networks: []netip.Prefix{netip.MustParsePrefix("127.1.10.0/24")}})
	before := b.entries(t)

	shorts, err := sandbox.NewShortConns(stage)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = shorts.Close() })
	traffic.Go(func() { shorts.Run(ctx, 200) })
	traffic.Go(func() { flood(t, stage.NS, again) })
	var deleted uint64
	for range 5 {
		out := b.k.Apply(t.Context(), "i1", deletion(1<<20))
		if !out.OK {
			t.Fatalf("outcome %+v", out)
		}
		deleted += out.Changed
		for _, c := range answered {
			ask(t, c)
		}
	}
	cancel()
	traffic.Wait()

	checkTraffic(t, before, b.entries(t))
	if alive, of := flows.Alive(); alive != of || flows.RoundTrips.Load() == 0 {
		t.Errorf("%d of %d connections are alive after %d bytes", alive, of, flows.RoundTrips.Load())
	}
	if deleted < old-again-256 {
		t.Errorf("%d entries deleted, want %d at least", deleted, old-again-256)
	}
}

// checkTraffic wants every entry that was answered still there, and the same
// one; all that is protected; and nothing that was silent.
func checkTraffic(t *testing.T, before, after map[uint32]conntrack.Entry) {
	t.Helper()
	replied, protected := 0, 0
	network := netip.MustParsePrefix("127.1.10.0/24")
	for id, e := range before {
		now, left := after[id]
		same := left && now.Orig == e.Orig
		switch {
		case !e.Status.Unreplied():
			if replied++; !same {
				t.Errorf("gone although answered: %s", &e)
			}
		case network.Contains(e.Orig.Dst):
			if protected++; !same {
				t.Errorf("gone although protected: %s", &e)
			}
		case same && now.Timeout <= 300:
			t.Errorf("left although nobody spoke: %s", &now)
		}
	}
	if replied < 50 || protected != 256 {
		t.Errorf("%d answered and %d protected entries: not what the test is for", replied, protected)
	}
}

// benchIn is newBench in a namespace that is there already.
func benchIn(t *testing.T, ns *netns.NS, protect conntrack.Protect) *bench {
	t.Helper()
	features, err := ctnetlink.Probe(t.Context(), ns)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{ns: ns, now: start}
	b.k, err = Open(Options{
		Dir: stateDir(t), Own: ns, Protect: protect, Features: features, Now: func() time.Time { return b.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.k.Close() })
	b.look(t)
	b.now = b.now.Add(time.Minute)
	b.look(t)
	return b
}

// flood sends n packets that nobody answers, each of a flow of its own.
func flood(t *testing.T, ns *netns.NS, n uint64) {
	t.Helper()
	f, err := sandbox.NewFlood(ns)
	if err == nil {
		err = errors.Join(f.Run(context.Background(), 100_000, n), f.Close())
	}
	if err != nil {
		t.Error(err)
	}
}

// answers makes UDP flows that are answered.
func answers(t *testing.T, ns *netns.NS, n int) []net.Conn {
	t.Helper()
	var conns []net.Conn
	err := ns.Do(func() error {
		echo, err := net.ListenPacket("udp4", "127.0.0.1:7")
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = echo.Close() })
		go func() {
			buf := make([]byte, 8)
			for {
				n, from, err := echo.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = echo.WriteTo(buf[:n], from)
			}
		}()
		for range n {
			c, err := net.Dial("udp4", "127.0.0.1:7")
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = c.Close() })
			conns = append(conns, c)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conns {
		ask(t, c)
	}
	return conns
}

func ask(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Write([]byte("x"))
	if err == nil {
		_, err = c.Read(make([]byte, 8))
	}
	if err != nil {
		t.Fatal(err)
	}
}
