package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// openAgain returns the sandbox's namespace with another thread in it.
func (s *Sandbox) openAgain() (*netns.NS, error) {
	path := filepath.Join("/proc/self/fd", fmt.Sprint(s.NS.File().Fd()))
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open namespace again: %w", err)
	}
	return netns.OpenFile(f)
}

// longConnsPort is the port that LongConns connect to.
const longConnsPort = 7000

// LongConns are long-lived TCP connections over which bytes go there and back
// throughout. ctwarden must never break them.
type LongConns struct {
	// RoundTrips counts the bytes that came back, Slowest is the longest that one
	// took, in nanoseconds.
	RoundTrips atomic.Uint64
	Slowest    atomic.Int64
	listener   net.Listener
	conns      []net.Conn
	alive      atomic.Int64
	running    sync.WaitGroup
}

// NewLongConns opens n connections in the namespace.
func NewLongConns(ns *netns.NS, n int) (*LongConns, error) {
	f := &LongConns{}
	err := ns.Do(func() (err error) {
		f.listener, err = net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", longConnsPort))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen for flows: %w", err)
	}
	go f.echo()
	for range n {
		err := ns.Do(func() error {
			c, err := net.DialTimeout("tcp4", f.listener.Addr().String(), time.Second)
			if err == nil {
				f.conns = append(f.conns, c)
			}
			return err
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open flow: %w", err), f.Close())
		}
	}
	f.alive.Store(int64(n))
	return f, nil
}

func (f *LongConns) echo() {
	for {
		c, err := f.listener.Accept()
		if err != nil {
			return // Close closed it
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c) // ends with the other side
		}()
	}
}

// Run sends a byte over each flow every interval until ctx is done. A flow
// whose byte does not come back within five seconds is dead.
func (f *LongConns) Run(ctx context.Context, interval time.Duration) {
	for _, c := range f.conns {
		f.running.Go(func() {
			if err := f.exchange(ctx, c, interval); err != nil {
				f.alive.Add(-1)
			}
		})
	}
	f.running.Wait()
}

func (f *LongConns) exchange(ctx context.Context, c net.Conn, interval time.Duration) error {
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	b := []byte{0}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		sent := time.Now()
		if err := c.SetDeadline(sent.Add(5 * time.Second)); err != nil {
			return err
		}
		if _, err := c.Write(b); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, b); err != nil {
			return err
		}
		f.RoundTrips.Add(1)
		took := time.Since(sent).Nanoseconds()
		for {
			slowest := f.Slowest.Load()
			if took <= slowest || f.Slowest.CompareAndSwap(slowest, took) {
				break
			}
		}
	}
}

// Alive returns the number of unbroken connections, and of all.
func (f *LongConns) Alive() (alive, of int) { return int(f.alive.Load()), len(f.conns) }

// Close closes the flows.
func (f *LongConns) Close() error {
	errs := []error{f.listener.Close()}
	for _, c := range f.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
