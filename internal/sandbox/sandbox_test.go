package sandbox

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// newSandbox makes a sandbox, or skips where the privilege is missing.
func newSandbox(t *testing.T) *Sandbox {
	t.Helper()
	sandbox, err := New()
	if errors.Is(err, os.ErrPermission) && os.Getuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN to make a network namespace")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sandbox.Close(); err != nil {
			t.Error(err)
		}
	})
	return sandbox
}

// entries reads nf_conntrack_count of the sandbox.
func entries(t *testing.T, sandbox *Sandbox) int {
	t.Helper()
	var n int
	err := sandbox.NS.Do(func() error {
		text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		if err != nil {
			return err
		}
		n, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFloodPacketsAreEntries(t *testing.T) {
	sandbox := newSandbox(t)
	flood, err := NewFlood(sandbox.NS)
	if err != nil {
		t.Fatal(err)
	}
	defer flood.Close()
	if err := flood.Run(t.Context(), 100_000, 2000); err != nil {
		t.Fatal(err)
	}
	if sent := flood.Sent.Load(); sent == 0 {
		t.Fatal("sent nothing")
	} else if got := entries(t, sandbox); got != int(sent) {
		t.Errorf("%d entries after %d packets", got, sent)
	}
}

func TestLongConnsStayAndShortConnsEnd(t *testing.T) {
	sandbox := newSandbox(t)
	flows, err := NewLongConns(sandbox.NS, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer flows.Close()
	shorts, err := NewShortConns(sandbox)
	if err != nil {
		t.Fatal(err)
	}
	defer shorts.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); flows.Run(ctx, time.Millisecond) }()
	go shorts.Run(ctx, 500)
	for flows.RoundTrips.Load() < 30 || shorts.Made.Load() < 20 {
		if t.Context().Err() != nil || shorts.Failed.Load() > 0 {
			t.Fatalf("%d trips, %d short connections, %d failed", flows.RoundTrips.Load(), shorts.Made.Load(), shorts.Failed.Load())
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
	if alive, of := flows.Alive(); alive != 3 || of != 3 {
		t.Errorf("%d of %d flows alive", alive, of)
	}
	if got := entries(t, sandbox); got < 23 {
		t.Errorf("%d entries, want the flows and the short connections", got)
	}
}

func TestDeadLongConnIsCounted(t *testing.T) {
	sandbox := newSandbox(t)
	flows, err := NewLongConns(sandbox.NS, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer flows.Close()
	if err := flows.conns[0].Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	flows.Run(ctx, time.Millisecond)
	if alive, of := flows.Alive(); alive != 1 || of != 2 {
		t.Errorf("%d of %d flows alive, want 1 of 2", alive, of)
	}
}
