package watcher_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/watcher"
)

const (
	journalLine = "nf_conntrack: nf_conntrack: table full, dropping packet"
	thisBoot    = "aec3eee924bb4319a464bb0ef3d3ed16"
)

// A fakeJournal is a journal that a test writes into. It implements watcher.Journal
// for whoever opens it, one at a time.
type fakeJournal struct {
	mu      sync.Mutex
	records []watcher.Record
	opened  []string // the cursors
	next    int
	broken  map[int]error // reading this record fails
	wake    chan struct{}
}

func newFakeJournal() *fakeJournal {
	return &fakeJournal{wake: make(chan struct{}, 1), broken: map[int]error{}}
}

func (d *fakeJournal) open(cursor string) (watcher.Journal, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opened = append(d.opened, cursor)
	d.next = len(d.records)
	for i := range d.records {
		if d.records[i].Cursor == cursor {
			d.next = i + 1
		}
	}
	return d, nil
}

func (d *fakeJournal) Next(ctx context.Context) (watcher.Record, bool, error) {
	d.mu.Lock()
	if d.next < len(d.records) {
		defer d.mu.Unlock()
		if err := d.broken[d.next]; err != nil {
			return watcher.Record{}, false, err
		}
		d.next++
		return d.records[d.next-1], true, nil
	}
	d.mu.Unlock()
	select {
	case <-d.wake:
	case <-ctx.Done():
	case <-time.After(500 * time.Millisecond):
	}
	return watcher.Record{}, false, nil
}

func (d *fakeJournal) Close() error { return nil }

func monotonicNow(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// write adds a line that journald took in so long ago.
func (d *fakeJournal) write(t *testing.T, text string, ago time.Duration) *watcher.Record {
	t.Helper()
	return d.writeAs(t, text, ago, func(*watcher.Record) {})
}

// writeAs changes the record before anybody can read it.
func (d *fakeJournal) writeAs(t *testing.T, text string, ago time.Duration, change func(*watcher.Record)) *watcher.Record {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	at := monotonicNow(t) - ago
	n := len(d.records)
	d.records = append(d.records, watcher.Record{
		Cursor: fmt.Sprintf("s=0;i=%x;b=%s;m=%x;t=%x;x=0", n, thisBoot, at.Microseconds(), 1_000_000*n),
		Text:   text, Boot: thisBoot, Mono: at, At: time.Unix(int64(n), 0),
	})
	change(&d.records[n])
	select {
	case d.wake <- struct{}{}:
	default:
	}
	return &d.records[n]
}

// runJournald runs a Journald on a fakeJournal until the test stops it.
func runJournald(t *testing.T, d *fakeJournal, path string) (j *watcher.Journald, out chan policy.Signal, missed func() []watcher.Missed, stop func()) {
	t.Helper()
	return runJournaldWith(t, d, path, func(*watcher.Journald) {})
}

// runJournaldWith changes the Journald before it runs.
func runJournaldWith(t *testing.T, d *fakeJournal, path string, change func(*watcher.Journald)) (j *watcher.Journald, out chan policy.Signal, missed func() []watcher.Missed, stop func()) {
	t.Helper()
	j = watcher.NewJournald(path, thisBoot)
	j.Open = d.open
	change(j)
	var mu sync.Mutex
	var all []watcher.Missed
	j.OnMissed = func(m watcher.Missed) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, m)
	}
	ctx, cancel := context.WithCancel(t.Context())
	inbox, ended := watcher.NewInbox(), make(chan struct{})
	out, drained := drain(inbox, ended)
	go func() { defer close(ended); j.Run(ctx, inbox) }()
	stop = func() { cancel(); <-drained }
	t.Cleanup(stop)
	missed = func() []watcher.Missed { mu.Lock(); defer mu.Unlock(); return all }
	return j, out, missed, stop
}

// drain passes on what comes into an inbox, until its sources have ended and it
// is empty.
func drain(inbox *watcher.Inbox, ended <-chan struct{}) (out chan policy.Signal, drained <-chan struct{}) {
	out = make(chan policy.Signal, 1024)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for over := false; !over; {
			select {
			case <-inbox.Wake():
			case <-ended:
				over = true
			}
			for _, s := range inbox.Drain() {
				out <- s
			}
		}
	}()
	return out, done
}

func TestJournaldReportsMissedLinesAndSignalsNewOnes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.cursor")
	synctest.Test(t, func(t *testing.T) {
		d := newFakeJournal()
		first := d.write(t, "eth0: link up", 400*time.Millisecond)
		if err := os.WriteFile(path, []byte(first.Cursor+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		d.write(t, journalLine, 300*time.Millisecond)
		d.write(t, "eth0: link down", 200*time.Millisecond)
		d.write(t, journalLine, 100*time.Millisecond)
		j, out, missed, stop := runJournald(t, d, path)
		time.Sleep(2 * time.Second)
		want := []watcher.Missed{{Count: 2, First: time.Unix(1, 0), Last: time.Unix(3, 0), Boot: thisBoot}}
		if diff := cmp.Diff(want, missed()); diff != "" {
			t.Errorf("missed (-want +got):\n%s", diff)
		}
		d.write(t, "nf_conntrack: nf_conntrack: table full in netns 7, dropping packet", -time.Millisecond)
		s := <-out
		if s.NetNS != 7 || s.Count != 1 || s.Source != "journald" {
			t.Errorf("heard %+v", s)
		}
		stop()
		if status := j.Status(); status.Lines != 1 || status.Missed != 2 || status.Alive {
			t.Errorf("status %+v", status)
		}
		text, err := os.ReadFile(path)
		if last := d.records[len(d.records)-1].Cursor; err != nil || strings.TrimSpace(string(text)) != last {
			t.Errorf("the file holds %q, %v, want %q", text, err, last)
		}
		if len(out) != 0 || len(missed()) != 1 {
			t.Errorf("%d more signals, %d tellings", len(out), len(missed()))
		}
	})
}

// TestJournaldSkipsLinesThatTheKernelLogCovers has lines of two boots that came
// while nobody listened; the kernel log still holds the latest.
func TestJournaldSkipsLinesThatTheKernelLogCovers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.cursor")
	synctest.Test(t, func(t *testing.T) {
		d := newFakeJournal()
		first := d.write(t, "eth0: link up", 900*time.Millisecond)
		if err := os.WriteFile(path, []byte(first.Cursor+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		const otherBoot = "00000000000000000000000000000001"
		printed := func(boot string, at time.Duration) func(*watcher.Record) {
			return func(r *watcher.Record) { r.Boot, r.Printed = boot, at }
		}
		d.writeAs(t, journalLine, 800*time.Millisecond, printed(otherBoot, 60*time.Second))
		d.writeAs(t, journalLine, 700*time.Millisecond, printed(thisBoot, 4*time.Second))
		d.writeAs(t, journalLine, 600*time.Millisecond, printed(thisBoot, 0)) // the journal does not say when
		d.writeAs(t, journalLine, 500*time.Millisecond, printed(thisBoot, 5*time.Second))
		d.writeAs(t, journalLine, 400*time.Millisecond, printed(thisBoot, 6*time.Second))
		j, out, missed, stop := runJournaldWith(t, d, path, func(j *watcher.Journald) {
			j.CoveredByKmsg = func(printed time.Duration) bool { return printed >= 5*time.Second }
		})
		time.Sleep(2 * time.Second)
		stop()
		want := []watcher.Missed{
			{Count: 1, First: time.Unix(1, 0), Last: time.Unix(1, 0), Boot: otherBoot},
			{Count: 2, First: time.Unix(2, 0), Last: time.Unix(3, 0), Boot: thisBoot},
		}
		if diff := cmp.Diff(want, missed()); diff != "" {
			t.Errorf("missed (-want +got):\n%s", diff)
		}
		if status := j.Status(); status.Missed != 3 || status.Lines != 0 || len(out) != 0 {
			t.Errorf("status %+v, %d signals", status, len(out))
		}
	})
}

func TestJournaldDoesNotSignalOldLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeJournal()
		j, out, missed, stop := runJournald(t, d, "")
		time.Sleep(time.Second)
		d.writeAs(t, journalLine, -time.Millisecond, func(r *watcher.Record) { r.Boot = strings.Repeat("0", 32) })
		time.Sleep(time.Second)
		printed := func(ago time.Duration) func(*watcher.Record) {
			return func(r *watcher.Record) { r.Printed = r.Mono - ago }
		}
		// The line shows how the clock of printk stands to the other one.
		d.writeAs(t, "nf_conntrack: expectation table full", -time.Millisecond, printed(time.Millisecond))
		time.Sleep(time.Second)
		// journald was away for a minute and takes in what it missed.
		d.writeAs(t, journalLine, -time.Millisecond, printed(time.Minute))
		time.Sleep(time.Second)
		stop()
		if len(out) != 0 || j.Status().Lines != 1 {
			t.Errorf("acted on %d old lines", len(out))
		}
		if n := len(missed()); n != 2 || j.Status().Missed != 2 {
			t.Errorf("reported %d times of %d missed lines, want 2 and 2", n, j.Status().Missed)
		}
	})
}

func TestJournaldSkipsACorruptFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeJournal()
		j, out, _, stop := runJournald(t, d, "")
		time.Sleep(time.Second)
		d.write(t, "eth0: link up", 0)
		d.broken[1] = errors.New("read journal entry: bad message")
		d.write(t, journalLine, 0)
		time.Sleep(10 * time.Second)
		d.write(t, journalLine, -time.Second)
		<-out
		stop()
		s := j.Status()
		if s.Reopened == 0 || s.Reopened > 5 || s.Err == nil {
			t.Errorf("status %+v", s)
		}
		if last := d.opened[len(d.opened)-1]; last != "" {
			t.Errorf("opened at last behind %q, want the end", last)
		}
		if d.opened[1] == "" {
			t.Error("gave the cursor up at once")
		}
	})
}

// TestJournaldKeepsItsCursorWhileTheJournalCannotBeOpened: files have run out, or
// memory has. What is said meanwhile is found afterwards.
func TestJournaldKeepsItsCursorWhileTheJournalCannotBeOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeJournal()
		var mu sync.Mutex
		var fails error
		set := func(err error) { mu.Lock(); defer mu.Unlock(); fails = err }
		j, out, missed, stop := runJournaldWith(t, d, "", func(j *watcher.Journald) {
			j.Open = func(cursor string) (watcher.Journal, error) {
				mu.Lock()
				defer mu.Unlock()
				if fails != nil {
					return nil, fails
				}
				return d.open(cursor)
			}
		})
		time.Sleep(time.Second)
		d.write(t, "eth0: link up", 0)
		time.Sleep(time.Second)
		d.mu.Lock()
		d.broken[1] = errors.New("too many open files")
		d.mu.Unlock()
		set(errors.New("too many open files"))
		for n := range 3 {
			d.write(t, journalLine, time.Minute)
			time.Sleep(time.Duration(7+n) * time.Second) // not in step with the attempts
		}
		d.mu.Lock()
		delete(d.broken, 1)
		d.mu.Unlock()
		set(nil)
		time.Sleep(20 * time.Second)
		stop()
		reported := uint64(0)
		for _, m := range missed() {
			reported += m.Count
		}
		if reported != 3 || len(out) != 0 || j.Status().Missed != 3 {
			t.Errorf("%d reported as missed and %d signals of 3 lines; opened behind %q", reported, len(out), d.opened)
		}
	})
}

func TestJournaldBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := watcher.NewJournald("", thisBoot)
		j.Open = func(string) (watcher.Journal, error) { return nil, errors.New("no journal here") }
		changes := 0
		j.OnChange = func(watcher.Status) { changes++ }
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); j.Run(ctx, watcher.NewInbox()) }()
		time.Sleep(time.Hour)
		cancel()
		<-ended
		if n := j.Status().Reopened; n < 700 || n > 740 {
			t.Errorf("%d attempts in an hour, want one every 5 s", n)
		}
		if changes != 1 {
			t.Errorf("reported %d times that there is no journal", changes)
		}
	})
}

func TestJournaldCountsLostRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeJournal()
		j, out, _, stop := runJournald(t, d, "")
		time.Sleep(time.Second)
		d.write(t, "Missed 12 kernel messages", -time.Millisecond)
		d.write(t, journalLine, -time.Millisecond)
		if s := <-out; s.Lost != 12 {
			t.Errorf("signal says %d lost", s.Lost)
		}
		stop()
		if got := j.Status().Lost; got != 12 {
			t.Errorf("status says %d lost", got)
		}
	})
}

func TestJournaldDoesNotSignalTheRingThatJournaldImports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeJournal()
		j, out, missed, stop := runJournald(t, d, "")
		time.Sleep(time.Second)
		for _, ago := range []time.Duration{time.Hour, 30 * time.Minute, 20 * time.Second, time.Millisecond} {
			d.writeAs(t, journalLine, -time.Millisecond, func(r *watcher.Record) {
				r.Mono += 2 * time.Hour // a machine that has been up for so long
				r.Printed = r.Mono - ago
			})
		}
		<-out
		stop()
		reported := 0 // in one piece or in several: the reader may be quicker than the fakeJournal
		for _, m := range missed() {
			reported += int(m.Count)
		}
		if len(out) != 0 || reported != 3 || j.Status().Missed != 3 {
			t.Errorf("%d more signals, missed %+v, want one signal and three missed", len(out), missed())
		}
	})
}

// TestDedupMatchesALineThatJournaldStoresLate: in a flood it falls behind by
// seconds, and the kernel log has reported all of it.
func TestDedupMatchesALineThatJournaldStoresLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, inbox := newFakeJournal(), watcher.NewInbox()
		j := watcher.NewJournald("", thisBoot)
		j.Open = d.open
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); j.Run(ctx, inbox) }()
		defer func() { cancel(); <-ended }()
		time.Sleep(time.Second)
		begun := monotonicNow(t) + 10*24*time.Hour // a machine that has been up for so long
		const lines = 6
		for i := range lines {
			inbox.AddLine(watcher.SourceKmsg, begun+time.Duration(i)*time.Second)
		}
		if got := inbox.Drain(); len(got) != 1 || got[0].Count != lines {
			t.Errorf("signals %v of %d lines through the kernel log", got, lines)
		}
		for i := range lines {
			d.writeAs(t, journalLine, 0, func(r *watcher.Record) {
				r.Printed = begun + time.Duration(i)*time.Second - 20*time.Second // by the clock of printk
				r.Mono = begun + time.Duration(i)*time.Second + time.Duration(i)*1500*time.Millisecond
			})
		}
		time.Sleep(time.Second)
		if got := inbox.Drain(); len(got) != 0 || j.Status().Lines != lines {
			t.Errorf("%d lines through the journal, taken in up to 7.5 s late, give %v", j.Status().Lines, got)
		}
	})
}

// TestJournaldIgnoresTheClockOfAnotherBoot: it ran ahead there by more than a line
// may be late here.
func TestJournaldIgnoresTheClockOfAnotherBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeJournal()
		j, out, _, stop := runJournald(t, d, "")
		time.Sleep(time.Second)
		d.writeAs(t, journalLine, 0, func(r *watcher.Record) {
			r.Boot, r.Mono, r.Printed = "beef", 720*time.Hour, 720*time.Hour+20*time.Second
		})
		d.writeAs(t, journalLine, -time.Millisecond, func(r *watcher.Record) { r.Printed = r.Mono - time.Millisecond })
		time.Sleep(time.Second)
		stop()
		if len(out) != 1 || j.Status().Missed != 1 {
			t.Errorf("%d signals and %d missed lines, want the one of this boot and the one of the other", len(out), j.Status().Missed)
		}
	})
}

// TestJournaldReadsThroughAFlood has the firewall log as fast as it can.
func TestJournaldReadsThroughAFlood(t *testing.T) {
	const lines, every = 200_000, 1000
	synctest.Test(t, func(t *testing.T) {
		d := newFakeJournal()
		j, out, _, stop := runJournald(t, d, "")
		time.Sleep(time.Second)
		at := monotonicNow(t) + time.Hour
		cursor := fmt.Sprintf("s=0;i=1;b=%s;m=%x;t=1;x=0", thisBoot, at.Microseconds())
		records := make([]watcher.Record, lines)
		for i := range records {
			records[i] = watcher.Record{Cursor: cursor, Text: "IN=eth0 OUT= SRC=192.0.2.1", Boot: thisBoot, Mono: at}
			if i%every == 0 {
				records[i].Text = journalLine
			}
		}
		d.mu.Lock()
		d.records = records
		d.mu.Unlock()
		for j.Status().Lines < lines/every {
			time.Sleep(time.Second) // of the test's own time, once all is idle
		}
		stop()
		signalled := uint64(0)
		for len(out) > 0 {
			signalled += (<-out).Count
		}
		if got := j.Status().Lines; got != lines/every || signalled != got {
			t.Errorf("heard %d lines and signalled %d, want %d", got, signalled, lines/every)
		}
	})
}
