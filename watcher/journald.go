package watcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// Missed sums up "table full" lines of one boot that came too late to be acted
// on: the kernel printed them while nobody listened.
type Missed struct {
	Count uint64 `json:"count"`
	// First and Last are when the kernel printed the first and the last, or,
	// of lines from the journal, when journald took them in.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Boot is the id of the boot, without dashes.
	Boot string `json:"boot_id,omitempty"`
	// Lost is how many records, of whatever kind, were overwritten before
	// these: there may have been more lines.
	Lost uint64 `json:"lost,omitempty"`
}

// Journald listens to the kernel's lines in the journal, for ever. It goes on
// where the last run stopped; what it finds between is told as missed.
//
// Only lines count that journald itself took from the kernel log and that have
// facility 0: see kernelMatches.
//
// Make one with NewJournald. Run may be called once.
type Journald struct {
	// Open opens the journal behind a cursor, or at its end if that is "".
	Open func(cursor string) (Journal, error)
	// CursorPath is the file that keeps the cursor; "" keeps none.
	CursorPath string
	// Boot is the id of this boot, in any spelling.
	Boot string
	// Elsewhere, if not nil, says of a line of this boot, by the moment at
	// which the kernel printed it on the clock of printk, that it comes through
	// the kernel log as well: too late here, it was not missed.
	CoveredByKmsg func(printed time.Duration) bool
	// OnChange is as that of Kmsg. OnMissed, if not nil, is told of lines
	// that came too late. Neither may block.
	OnChange func(Status)
	OnMissed func(Missed)

	health
	inbox   *Inbox
	started time.Duration // Run began, on CLOCK_MONOTONIC
	cursor  string
	saved   string
	missed  Missed
	skew    skew
	// readable says that the journal was read, or that there was nothing in it
	// to be read, since it was opened last.
	readable bool
}

// NewJournald returns a Journald that keeps its cursor in a file.
func NewJournald(cursorPath, boot string) *Journald {
	return &Journald{Open: openJournal, CursorPath: cursorPath, Boot: boot}
}

// saveEvery is how often the cursor is written at the most.
const saveEvery = 5 * time.Second

// maxLineAge is the age from which a line is not acted on any more.
const maxLineAge = 10 * time.Second

// Run listens until ctx is done and puts what it reads into inbox. When it
// returns, everything that it started is gone.
func (j *Journald) Run(ctx context.Context, inbox *Inbox) {
	j.inbox = inbox
	j.started = monotonic()
	j.Boot = strings.ReplaceAll(j.Boot, "-", "")
	cursor, err := readCursor(j.CursorPath)
	if err != nil {
		j.setAlive(false, err, j.OnChange) // and begin at the end
	}
	j.cursor, j.saved = cursor, cursor
	var backoff time.Duration
	doubted := "" // a cursor that may be why nothing can be read
	for ctx.Err() == nil {
		progress, err := j.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if doubted == "" || j.readable {
			j.setAlive(false, err, j.OnChange)
		}
		switch {
		case progress:
			backoff, doubted = 0, ""
		case j.readable:
			doubted = ""
		case doubted != "":
			// The end can't be read either, so that it was not the cursor:
			// what is said meanwhile will be found behind it.
			j.cursor, doubted = doubted, ""
		case backoff > 0 && j.cursor != "":
			// Twice at the same place: a file that can't be read past it, or
			// a cursor that the journal does not know. The end is readable.
			j.cursor, doubted = "", j.cursor
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
	j.update(func(s *Status) { s.Alive = false }) // asked for, so it is no change
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

// journalResult is what the reader of a journal hands over: a record, an error after
// which it ends, or that there is nothing.
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

// handle deals with one record.
func (j *Journald) handle(r *Record) {
	now := monotonic()
	lost := missedMessages(r.Text)
	m, heard := conntrack.ParseMessage(r.Text)
	var delay time.Duration
	if r.Boot == j.Boot { // another boot's clock is another one
		delay = j.skew.delay(r)
	}
	late := heard && j.tooOld(r, delay, now)
	missed := late && m.Kind == conntrack.TableFull && !j.covered(r)
	j.cursor = r.Cursor
	j.update(func(s *Status) {
		s.At = time.Now()
		s.Lost += lost
		if heard && !late {
			s.Lines++
		}
		if missed {
			s.Missed++
			s.MissedAt = r.At
		}
	})
	j.inbox.addLost(lost)
	switch {
	case !heard:
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

// covered reports whether a line comes through the kernel log, too.
func (j *Journald) covered(r *Record) bool {
	return j.CoveredByKmsg != nil && r.Boot == j.Boot && r.Printed > 0 && j.CoveredByKmsg(r.Printed)
}

// tooOld reports whether a line is too old to be acted on: journald took it in
// before Run began or a while ago, or the kernel had printed it a while before
// that, when journald was not there.
func (j *Journald) tooOld(r *Record, delay, now time.Duration) bool {
	return delay > maxLineAge || r.Boot != j.Boot || r.Mono < j.started || now-r.Mono > maxLineAge
}

// A skew is how far the clock of printk is behind CLOCK_MONOTONIC, as far as
// the lines show it: the least that lay between printing and taking in. The
// zero skew knows nothing.
type skew struct {
	least, at time.Duration
	known     bool
}

// The clock of printk is not disciplined, so that it drifts: since the boot by
// less than startDrift of the uptime, as is assumed while nothing else is
// known, and never faster than NTP's limit of 500 ppm.
const (
	startDrift = 10_000
	maxDrift   = 2_000
)

// delay returns by how much longer than others a line took from the kernel to
// the journal. A journald that starts takes in the whole ring, old lines
// first, so the first line can't be the measure of the rest.
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
