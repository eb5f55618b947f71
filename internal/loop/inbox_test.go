package loop_test

import (
	"sync"

	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/policy"
)

// An inbox is what a test has the kernel say. A nil one says nothing.
type inbox struct {
	wake chan struct{}

	mu      sync.Mutex
	signals []policy.Signal
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// add has the kernel say something, which wakes the loop.
func (b *inbox) add(s policy.Signal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.signals = append(b.signals, s)
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox) drain() []policy.Signal {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.wake: // of what is drained now
	default:
	}
	signals := b.signals
	b.signals = nil
	return signals
}

// connect gives a loop the inbox.
func (b *inbox) connect(deps loop.Deps) loop.Deps {
	if b != nil {
		deps.Wake, deps.Drain = b.wake, b.drain
	}
	return deps
}
