package watcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	kmsg "github.com/euank/go-kmsg-parser/v2/kmsgparser"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// Kmsg reads the kernel log at /dev/kmsg until its context ends. go-kmsg-parser
// stops when the kernel overwrites records faster than they are read; Kmsg then
// opens the log again, skips the records that it has read, by their sequence
// numbers, and counts those that it has lost.
//
// It reads only records of facility 0, which only the kernel can write:
// devkmsg_write in kernel/printk/printk.c turns 0 into LOG_USER. The log is that
// of the host, and has the lines of all namespaces.
//
// Make one with NewKmsg. Run may be called once.
type Kmsg struct {
	// Open opens the log at its oldest record.
	Open func() (kmsg.Parser, error)
	// ReadBacklog reads the records that the log holds before Kmsg first opens
	// it, and sums up those from a sequence number on. If it is nil or fails,
	// Kmsg starts at the end of the log.
	ReadBacklog func(from uint64) (Backlog, error)
	// PositionPath is the file that holds the position in the log. Optional.
	// Boot is the id of this boot.
	PositionPath, Boot string
	// OnChange receives each change: the log becomes readable, unreadable, or
	// fails for another reason. OnMissed receives once the lines that the
	// kernel printed since an earlier run. Both are optional, and neither may
	// block.
	OnChange func(Status)
	OnMissed func(Missed)

	health
	inbox      *Inbox
	covered    bool          // covers is valid
	coversFrom time.Duration // see Covers

	started  bool
	opened   bool   // once, at least
	seen     uint64 // the last sequence number that was dealt with
	hasSeen  bool   // seen is valid
	saved    bool   // savedSeq is valid
	savedSeq uint64
	savedAt  time.Duration
}

// NewKmsg returns a Kmsg that reads /dev/kmsg and saves no position.
func NewKmsg() *Kmsg {
	return &Kmsg{Open: kmsg.NewParser, ReadBacklog: readBacklog}
}

// Run reads until ctx is done and puts the lines into inbox. All goroutines
// that it starts have ended when it returns.
func (k *Kmsg) Run(ctx context.Context, inbox *Inbox) {
	k.inbox = inbox
	k.Start()
	defer k.save()
	var backoff time.Duration
	for ctx.Err() == nil {
		progress, err := k.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if progress {
			backoff = 0
		}
		if backoff > 0 {
			k.setAlive(false, err, k.OnChange)
		}
		if !waitBackoff(ctx, backoff) {
			break
		}
		backoff = nextBackoff(backoff)
	}
	k.update(func(s *Status) { s.Alive = false }) // the caller stopped it: not reported
}

// follow opens the log and reads it until it ends. It reports whether it read a
// new record, and why the log ended.
func (k *Kmsg) follow(ctx context.Context) (progress bool, err error) {
	log, reason, err := k.open()
	if err != nil {
		return false, err
	}
	records := log.Parse()
	defer func() {
		err = errors.Join(err, log.Close())
		// The library's goroutine blocks until its records are received.
		for range records {
		}
	}()
	saves := time.NewTicker(saveEvery)
	defer saves.Stop()
	for {
		select {
		case <-ctx.Done():
			return progress, ctx.Err()
		case <-saves.C:
			k.save()
		case r, ok := <-records:
			if !ok {
				return progress, reason.get()
			}
			progress = k.handle(r) || progress
		}
	}
}

// open opens the log so that the first record to be acted on is new.
func (k *Kmsg) open() (kmsg.Parser, *stopReason, error) {
	first := !k.opened
	if !k.hasSeen {
		k.loadBacklog()
	}
	log, err := k.Open()
	if err != nil {
		return nil, nil, fmt.Errorf("open kernel log: %w", err)
	}
	reason := new(stopReason)
	log.SetLogger(reason)
	if !k.hasSeen {
		if err := log.SeekEnd(); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("go to the end of the kernel log: %w", err), log.Close())
		}
		k.setAlive(true, nil, k.OnChange) // nothing may come for hours
	}
	k.opened = true
	if !first {
		k.update(func(s *Status) { s.Reopened++ })
	}
	return log, reason, nil
}

// Start reads the backlog and reports the missed lines in it. Run calls Start; a
// caller that needs Covers before Run calls it earlier.
func (k *Kmsg) Start() {
	if !k.started {
		k.started = true
		k.loadBacklog()
	}
}

func (k *Kmsg) loadBacklog() {
	if k.ReadBacklog == nil {
		return
	}
	from, been := k.startSeq()
	if past, err := k.ReadBacklog(from); err == nil {
		k.startAfter(past, been)
	}
}

// startAfter makes the end of the backlog the position from which to read.
func (k *Kmsg) startAfter(p Backlog, been bool) {
	if k.hasSeen || p.Records == 0 {
		return
	}
	k.seen, k.hasSeen = p.Seq, true
	k.mu.Lock()
	k.status.Missed, k.status.MissedAt = p.TableFull, p.FullAt
	if p.From > 0 { // since an earlier run of this boot
		k.status.Lost = p.Lost
	}
	k.covered = true
	switch {
	case !been: // from now on
		k.coversFrom = p.Last + 1
	case p.Lost > 0:
		k.coversFrom = p.FirstNew
	}
	k.mu.Unlock()
	if been && p.TableFull > 0 && k.OnMissed != nil {
		k.OnMissed(Missed{Count: p.TableFull, First: p.FullFirst, Last: p.FullAt, Boot: strings.ReplaceAll(k.Boot, "-", ""), Lost: p.Lost})
	}
	k.save()
}

// Covers reports whether a line of this boot, which the kernel printed at a
// time of printk's clock, was or will be enqueued or reported as missed, by
// this run or an earlier one. It may be called at any time.
func (k *Kmsg) Covers(printed time.Duration) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.covered && printed >= k.coversFrom
}

// handle enqueues the line of a record and reports whether the record was new.
func (k *Kmsg) handle(r kmsg.Message) bool {
	now := time.Now()
	seq := uint64(r.SequenceNumber)
	fresh := !k.hasSeen || seq > k.seen
	var lost uint64
	if k.hasSeen && fresh {
		lost = seq - k.seen - 1
	}
	if fresh {
		k.seen, k.hasSeen = seq, true
	}
	m, ok := conntrack.Message{}, false
	if fresh && r.Priority>>3 == 0 {
		m, ok = conntrack.ParseMessage(firstLine(r.Message))
	}
	alive := false
	k.update(func(s *Status) {
		alive = s.Alive
		if fresh {
			s.At = now // an old one was read again, not printed again
		}
		s.Lost += lost
		if ok {
			s.Lines++
		}
	})
	if !alive {
		k.setAlive(true, nil, k.OnChange)
	}
	k.inbox.addLost(lost)
	if ok {
		mono := monotonic()
		if m.Kind == conntrack.TableFull {
			k.inbox.enqueue(line{lineKey{m.NetNS, m.Named}, SourceKmsg, mono})
		}
		if mono-k.savedAt >= time.Second { // a crash would have it recorded as missed
			k.save()
		}
	}
	return fresh
}

// firstLine cuts off the dictionary lines (" SUBSYSTEM=net") that the library
// leaves in the text. A newline within the text cannot be one: the kernel
// prints it as \x0a (msg_print_ext_body in kernel/printk/printk.c).
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// errOverrun reports that the kernel overwrote records before they were read.
var errOverrun = errors.New("kernel log overrun")

// A stopReason is a logger of the library that keeps the one message
// that matters: the error that ended the reading. The library's other way out,
// the closed channel, has no reason.
type stopReason struct {
	mu  sync.Mutex
	err error
}

// Errorf implements kmsg.Logger.
func (s *stopReason) Errorf(_ string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range args {
		if err, ok := a.(error); ok {
			s.err = fmt.Errorf("read kernel log: %w", err)
			if errors.Is(err, syscall.EPIPE) {
				s.err = errOverrun
			}
		}
	}
}

// Warningf implements kmsg.Logger: a record that the library could not parse
// leaves a gap in the sequence and is counted there.
func (s *stopReason) Warningf(string, ...any) {}

// Infof implements kmsg.Logger.
func (s *stopReason) Infof(string, ...any) {}

func (s *stopReason) get() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return errors.New("kernel log ended")
	}
	return s.err
}
