package watcher

import (
	"context"
	"sync"
	"time"
)

// The back-off between two attempts to read a source. The first new attempt
// comes at once: after an overrun each millisecond loses more lines.
const (
	firstBackoff = 10 * time.Millisecond
	maxBackoff   = 5 * time.Second // as long as the kernel's own limiter of these lines
)

// waitBackoff lets the back-off pass and reports false if ctx is done before.
func waitBackoff(ctx context.Context, backoff time.Duration) bool {
	timer := time.NewTimer(backoff)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// nextBackoff returns the back-off after this one.
func nextBackoff(backoff time.Duration) time.Duration {
	return min(max(2*backoff, firstBackoff), maxBackoff)
}

// Status is the state of a source of lines. The zero Status is that of a source
// that has not started. Its JSON is a contract, as a part of `ctwarden status`.
type Status struct {
	// Alive is true while the source can be read.
	Alive bool `json:"alive"`
	// At is when the last new record of any kind was read.
	At time.Time `json:"last_record,omitzero"`
	// Lines counts the new lines of any kind about connection tracking.
	Lines uint64 `json:"heard"`
	// Lost counts the records that were overwritten unread.
	Lost uint64 `json:"lost"`
	// Reopened counts how often the log had to be opened again.
	Reopened uint64 `json:"reopened"`
	// Missed counts the "table full" lines between the last record of an
	// earlier run, if there was one, and the first record that could become a
	// signal. They are recorded, never acted on.
	Missed uint64 `json:"missed"`
	// MissedAt is when the kernel printed the last of them.
	MissedAt time.Time `json:"-"`
	// Err is the reason why the source is not alive, or last was not.
	Err error `json:"-"`
}

// A health is the Status of a source, which other goroutines may read.
type health struct {
	mu     sync.Mutex
	status Status
}

// Status returns the state of the source. It may be called at any time.
func (h *health) Status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status
}

func (h *health) update(fn func(*Status)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fn(&h.status)
}

// setAlive stores whether the source can be read. It calls onChange, which is
// optional, when that or the reason changes.
func (h *health) setAlive(alive bool, err error, onChange func(Status)) {
	h.mu.Lock()
	changed := h.status.Alive != alive || err != nil && (h.status.Err == nil || h.status.Err.Error() != err.Error())
	h.status.Alive = alive
	if err != nil {
		h.status.Err = err
	}
	status := h.status
	h.mu.Unlock()
	if changed && onChange != nil {
		onChange(status)
	}
}

// A KernelLog reads the kernel's lines about full tables through every source
// there is into one Inbox.
type KernelLog struct {
	// Kmsg and Journald are optional.
	Kmsg     *Kmsg
	Journald *Journald
	Inbox    *Inbox
}

// Run reads until ctx is done. All goroutines that it starts have ended when it
// returns.
func (l *KernelLog) Run(ctx context.Context) {
	var sources sync.WaitGroup
	if l.Kmsg != nil {
		l.Kmsg.Start() // Journald calls Covers
		if l.Journald != nil {
			l.Journald.CoveredByKmsg = l.Kmsg.Covers
		}
		sources.Go(func() { l.Kmsg.Run(ctx, l.Inbox) })
	}
	if l.Journald != nil {
		sources.Go(func() { l.Journald.Run(ctx, l.Inbox) })
	}
	sources.Wait()
}

// Sources returns the state of each source.
func (l *KernelLog) Sources() map[Source]Status {
	all := map[Source]Status{}
	if l.Kmsg != nil {
		all[SourceKmsg] = l.Kmsg.Status()
	}
	if l.Journald != nil {
		all[SourceJournald] = l.Journald.Status()
	}
	return all
}
