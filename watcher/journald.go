package watcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// Missed sums up the "table full" lines of one boot that ctwarden read too late
// to act on: the kernel printed them while ctwarden did not run.
type Missed struct {
	Count uint64 `json:"count"`
	// First and Last are the times at which the kernel printed the first and
	// the last line or, for lines from the journal, at which journald received
	// them.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Boot is the id of the boot, without dashes.
	Boot string `json:"boot_id,omitempty"`
	// Lost counts the records of any kind that were overwritten before these:
	// "table full" lines may be among them.
	Lost uint64 `json:"lost,omitempty"`
}

// Journald reads the kernel's lines in the journal until its context ends. It
// continues where the last run stopped, and reports the lines in between as
// missed.
//
// It reads only lines that journald itself took from the kernel log and that
// have facility 0: see kernelMatches.
//
// Make one with NewJournald. Run may be called once.
type Journald struct {
	// Open opens the journal behind a cursor, or at its end if that is "".
	Open func(cursor string) (Journal, error)
	// CursorPath is the file that holds the cursor. Optional.
	CursorPath string
	// Boot is the id of this boot, in any spelling.
	Boot string
	// CoveredByKmsg reports whether Kmsg reads a line of this boot, too, which
	// the kernel printed at this time of printk's clock. A late line that Kmsg
	// covers is not reported as missed. Optional.
	CoveredByKmsg func(printed time.Duration) bool
	// OnChange is as in Kmsg. OnMissed receives the lines that came too late.
	// Both are optional, and neither may block.
	OnChange func(Status)
	OnMissed func(Missed)

	health
	inbox   *Inbox
	started time.Duration // Run began, on CLOCK_MONOTONIC
	cursor  string
	saved   string
	missed  Missed
	skew    skew
	// readable is set once a record, or the end of the journal, was read since
	// the journal was opened.
	readable bool
}

// NewJournald returns a Journald that keeps its cursor in a file.
func NewJournald(cursorPath, boot string) *Journald {
	return &Journald{Open: openJournal, CursorPath: cursorPath, Boot: boot}
}

// saveEvery is the least time between two writes of the cursor.
const saveEvery = 5 * time.Second

// maxLineAge is the age beyond which a line does not become a signal.
const maxLineAge = 10 * time.Second

// Run reads until ctx is done and puts the lines into inbox. All goroutines and
// processes that it starts have ended when it returns.
func (j *Journald) Run(ctx context.Context, inbox *Inbox) {
	j.inbox = inbox
	j.started = monotonic()
	j.Boot = strings.ReplaceAll(j.Boot, "-", "")
	cursor, err := readCursor(j.CursorPath)
	if err != nil {
		j.setAlive(false, err, j.OnChange) // start at the end
	}
	j.cursor, j.saved = cursor, cursor
	var backoff time.Duration
	suspectCursor := "" // a cursor that may be the reason of a failure
	for ctx.Err() == nil {
		progress, err := j.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if suspectCursor == "" || j.readable {
			j.setAlive(false, err, j.OnChange)
		}
		switch {
		case progress:
			backoff, suspectCursor = 0, ""
		case j.readable:
			suspectCursor = ""
		case suspectCursor != "":
			// The end can't be read either, so the cursor was not the reason:
			// go back to it, and no line is lost.
			j.cursor, suspectCursor = suspectCursor, ""
		case backoff > 0 && j.cursor != "":
			// The second failure at this cursor: a file is corrupt behind it,
			// or the journal does not have it. Try the end of the journal.
			j.cursor, suspectCursor = "", j.cursor
			continue
		}
		if !waitBackoff(ctx, backoff) {
			break
		}
		backoff = nextBackoff(backoff)
		j.update(func(s *Status) { s.Reopened++ })
	}
	j.reportMissed()
	j.saveCursor()
	j.update(func(s *Status) { s.Alive = false }) // the caller stopped it: not reported
}

// follow reads the journal until it fails, and reports whether it read a
// record.
func (j *Journald) follow(ctx context.Context) (progress bool, err error) {
	j.readable = false
	journal, err := j.Open(j.cursor)
	if err != nil {
		return false, fmt.Errorf("open journal: %w", err)
	}
	reading, stop := context.WithCancel(ctx)
	feed := make(chan journalResult, 64)
	go readJournal(reading, journal, feed)
	defer func() {
		stop()
		for range feed { // until the reader has ended
		}
		err = errors.Join(err, journal.Close())
	}()
	saves := time.NewTicker(saveEvery)
	defer saves.Stop()
	for {
		select {
		case <-ctx.Done():
			return progress, ctx.Err()
		case <-saves.C:
			j.saveCursor()
		case f := <-feed:
			switch {
			case f.err != nil:
				return progress, fmt.Errorf("read journal: %w", f.err)
			case f.idle:
				j.readable = true
				j.setAlive(true, nil, j.OnChange)
				j.reportMissed()
			default:
				j.readable, progress = true, true
				j.setAlive(true, nil, j.OnChange)
				j.handle(&f.record)
			}
		}
	}
}

// A journalResult is a record, a wait without one (idle), or the error that ended
// the reading.
type journalResult struct {
	record Record
	idle   bool
	err    error
}

func readJournal(ctx context.Context, journal Journal, feed chan<- journalResult) {
	defer close(feed)
	for ctx.Err() == nil {
		r, ok, err := journal.Next(ctx)
		select {
		case feed <- journalResult{r, !ok, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// handle enqueues the line of a record, or adds it to the missed ones.
func (j *Journald) handle(r *Record) {
	now := monotonic()
	lost := missedMessages(r.Text)
	m, ok := conntrack.ParseMessage(r.Text)
	var delay time.Duration
	if r.Boot == j.Boot { // each boot has a clock of its own
		delay = j.skew.delay(r)
	}
	late := ok && j.tooOld(r, delay, now)
	missed := late && m.Kind == conntrack.TableFull && !j.covered(r)
	j.cursor = r.Cursor
	j.update(func(s *Status) {
		s.At = time.Now()
		s.Lost += lost
		if ok && !late {
			s.Lines++
		}
		if missed {
			s.Missed++
			s.MissedAt = r.At
		}
	})
	j.inbox.addLost(lost)
	switch {
	case !ok:
	case !late:
		j.reportMissed()
		if m.Kind == conntrack.TableFull {
			j.inbox.enqueue(line{lineKey{m.NetNS, m.Named}, SourceJournald, r.Mono - delay})
		}
	case missed:
		if r.Boot != j.missed.Boot {
			j.reportMissed()
		}
		if j.missed.Count == 0 {
			j.missed.First, j.missed.Boot = r.At, r.Boot
		}
		j.missed.Count, j.missed.Last = j.missed.Count+1, r.At
	}
}

// covered reports whether Kmsg reads the line, too.
func (j *Journald) covered(r *Record) bool {
	return j.CoveredByKmsg != nil && r.Boot == j.Boot && r.Printed > 0 && j.CoveredByKmsg(r.Printed)
}

// tooOld reports whether a line must not become a signal: journald received it
// before Run began, or longer than maxLineAge ago, or that long after the kernel
// had printed it.
func (j *Journald) tooOld(r *Record, delay, now time.Duration) bool {
	return delay > maxLineAge || r.Boot != j.Boot || r.Mono < j.started || now-r.Mono > maxLineAge
}

// A skew estimates how far the clock of printk is behind CLOCK_MONOTONIC: the
// least time between printing and receipt of all lines. The zero skew has no
// estimate.
type skew struct {
	least, at time.Duration
	known     bool
}

// The clock of printk is not disciplined by NTP, so it drifts: by less than one
// part in startDrift of the uptime, as is assumed for the first line, and never
// by more than one part in maxDrift, NTP's limit of 500 ppm.
const (
	startDrift = 10_000
	maxDrift   = 2_000
)

// delay returns how much longer a line took from the kernel to the journal than
// the fastest line. A starting journald imports the whole ring, old lines first,
// so the first line can't be the measure for the others.
func (s *skew) delay(r *Record) time.Duration {
	if r.Printed == 0 {
		return 0
	}
	took := r.Mono - r.Printed
	if !s.known {
		*s = skew{r.Mono / startDrift, r.Mono, true}
	}
	s.least = min(s.least+max(0, r.Mono-s.at)/maxDrift, took)
	s.at = r.Mono
	return took - s.least
}

func (j *Journald) reportMissed() {
	if j.missed.Count > 0 && j.OnMissed != nil {
		j.OnMissed(j.missed)
	}
	j.missed = Missed{}
}

func (j *Journald) saveCursor() {
	if j.cursor == j.saved {
		return
	}
	if err := writeCursor(j.CursorPath, j.cursor); err != nil {
		j.update(func(s *Status) { s.Err = err })
		return
	}
	j.saved = j.cursor
}
