package watcher_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	kmsg "github.com/euank/go-kmsg-parser/v2/kmsgparser"
	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/watcher"
)

const (
	fullLine  = "nf_conntrack: nf_conntrack: table full, dropping packet"
	fullNetNS = "nf_conntrack: nf_conntrack: table full in netns %d, dropping packet"
	warning   = 4 // facility 0 (kernel), level 4
)

// A fakeLog is a kernel log that behaves like the library: records come until
// the script is over; then the channel is closed with an error for the
// logger, or stays open until Close.
type fakeLog struct {
	records []kmsg.Message
	err     error // ends the log after the records; nil waits for Close
	seekErr error

	logger  kmsg.Logger
	seeks   *int
	closed  chan struct{}
	once    sync.Once
	onClose func()
}

func (f *fakeLog) SetLogger(l kmsg.Logger) { f.logger = l }

func (f *fakeLog) SeekEnd() error {
	*f.seeks++
	f.records = nil
	return f.seekErr
}

func (f *fakeLog) Close() error {
	f.once.Do(func() { close(f.closed); f.onClose() })
	return nil
}

func (f *fakeLog) Parse() <-chan kmsg.Message {
	out := make(chan kmsg.Message, 1)
	go func() {
		defer close(out)
		for _, r := range f.records {
			out <- r // like the library, blocks for ever if nobody takes it
		}
		if f.err != nil {
			f.logger.Errorf("error reading /dev/kmsg: %v", f.err)
			return
		}
		<-f.closed
	}()
	return out
}

// A script is a sequence of logs, one for each Open; then waiting for ever in
// the last.
type script struct {
	logs  []*fakeLog
	opens []time.Time
	open  int // logs that are open now
	seeks int
	fails map[int]error // errors of Open, by attempt
}

func (s *script) Open() (kmsg.Parser, error) {
	n := len(s.opens)
	s.opens = append(s.opens, time.Now())
	if err := s.fails[n]; err != nil {
		return nil, err
	}
	log := &fakeLog{}
	if len(s.logs) > 0 {
		log, s.logs = s.logs[0], s.logs[1:]
	}
	log.closed, log.seeks = make(chan struct{}), &s.seeks
	s.open++
	log.onClose = func() { s.open-- }
	return log, nil
}

func record(seq int, text string) kmsg.Message {
	return kmsg.Message{Priority: warning, SequenceNumber: seq, Message: text + "\n"}
}

func records(from, to int, text string) []kmsg.Message {
	var rs []kmsg.Message
	for seq := from; seq <= to; seq++ {
		rs = append(rs, record(seq, text))
	}
	return rs
}

func overrun() error {
	return &fs.PathError{Op: "read", Path: "/dev/kmsg", Err: syscall.EPIPE}
}

// backlogUpTo is a log that already holds the records up to seq.
func backlogUpTo(seq uint64) func(uint64) (watcher.Backlog, error) {
	return func(uint64) (watcher.Backlog, error) { return watcher.Backlog{Records: 1, Seq: seq}, nil }
}

// runKmsg runs k until everything stands still, and returns what it signalled.
func runKmsg(t *testing.T, k *watcher.Kmsg, during func()) []policy.Signal {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	inbox := watcher.NewInbox()
	ran := make(chan struct{})
	go func() { defer close(ran); k.Run(ctx, inbox) }()
	synctest.Wait()
	if during != nil {
		during()
	}
	cancel()
	<-ran
	return inbox.Drain()
}

// sum adds up equal signals.
func sum(signals []policy.Signal) map[string]uint64 {
	total := map[string]uint64{}
	for _, s := range signals {
		total[fmt.Sprintf("netns=%d named=%t", s.NetNS, s.Named)] += s.Count
		total["lost"] += s.Lost
	}
	if total["lost"] == 0 {
		delete(total, "lost")
	}
	return total
}

const unnamed = "netns=0 named=false"

func TestKmsgSignals(t *testing.T) {
	user := kmsg.Message{Priority: 1<<3 | 4, SequenceNumber: 11, Message: fullLine + "\n"}
	for _, c := range []struct {
		name    string
		records []kmsg.Message
		want    map[string]uint64
	}{
		{"a line of the kernel", []kmsg.Message{record(11, fullLine)}, map[string]uint64{unnamed: 1}},
		{
			"the namespace by its number", []kmsg.Message{record(11, fmt.Sprintf(fullNetNS, 4026532177))},
			map[string]uint64{"netns=4026532177 named=true": 1},
		},
		{"no line that a user wrote", []kmsg.Message{user}, map[string]uint64{}},
		{"no negative priority", []kmsg.Message{{Priority: -1, SequenceNumber: 11, Message: fullLine}}, map[string]uint64{}},
		{"no other line", []kmsg.Message{record(11, "usb 1-1: new device")}, map[string]uint64{}},
		{"no line that merely contains the text", []kmsg.Message{record(11, "foo: "+fullLine)}, map[string]uint64{}},
		{
			"a line with a dictionary", []kmsg.Message{{Priority: warning, SequenceNumber: 11, Message: fullLine + "\n SUBSYSTEM=net\n DEVICE=+x\n"}},
			map[string]uint64{unnamed: 1},
		},
		{
			"no text in the dictionary", []kmsg.Message{{Priority: warning, SequenceNumber: 11, Message: "eth0: up\n" + fullLine + "\n"}},
			map[string]uint64{},
		},
		{"no line from before", []kmsg.Message{record(9, fullLine), record(10, fullLine)}, map[string]uint64{}},
		{"a line once, though it comes twice", []kmsg.Message{record(11, fullLine), record(11, fullLine)}, map[string]uint64{unnamed: 1}},
		{
			"a gap, and how large it is", []kmsg.Message{record(11, "x"), record(20, fullLine)},
			map[string]uint64{unnamed: 1, "lost": 8},
		},
		{
			"a gap is reported once", []kmsg.Message{record(20, fullLine), record(21, fmt.Sprintf(fullNetNS, 7))},
			map[string]uint64{unnamed: 1, "netns=7 named=true": 1, "lost": 9},
		},
		{
			"a gap before the first record", []kmsg.Message{record(15, fullLine)},
			map[string]uint64{unnamed: 1, "lost": 4},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{logs: []*fakeLog{{records: c.records}}}
				k := &watcher.Kmsg{Open: s.Open, ReadBacklog: backlogUpTo(10)}
				got := runKmsg(t, k, nil)
				if diff := cmp.Diff(c.want, sum(got)); diff != "" {
					t.Errorf("signals (-want +got):\n%s", diff)
				}
				if s.seeks != 0 {
					t.Error("the log was moved to its end although its past is known")
				}
			})
		})
	}
}

func TestKmsgSignalIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{logs: []*fakeLog{{records: []kmsg.Message{record(14, fmt.Sprintf(fullNetNS, 77))}}}}
		k := &watcher.Kmsg{Open: s.Open, ReadBacklog: backlogUpTo(10)}
		got := runKmsg(t, k, nil)
		want := []policy.Signal{{NetNS: 77, Named: true, Count: 1, Source: "kmsg", Lost: 3}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("signals (-want +got):\n%s", diff)
		}
	})
}

func TestKmsgSurvivesOverruns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := &script{logs: []*fakeLog{
			{records: records(1, 20, fullLine), err: overrun()},
			// The ring has moved on: 21 to 49 are gone.
			{records: records(50, 60, fullLine), err: overrun()},
			// The next one begins with what was seen already.
			{records: records(55, 70, fullLine)},
		}}
		var changes []watcher.Status
		k := &watcher.Kmsg{Open: s.Open, ReadBacklog: backlogUpTo(10), OnChange: func(s watcher.Status) { changes = append(changes, s) }}
		got := runKmsg(t, k, func() {
			want := watcher.Status{Alive: true, At: start, Lines: 10 + 11 + 10, Lost: 29, Reopened: 2}
			if diff := cmp.Diff(want, k.Status()); diff != "" {
				t.Errorf("Status (-want +got):\n%s", diff)
			}
		})
		if diff := cmp.Diff(map[string]uint64{unnamed: 31, "lost": 29}, sum(got)); diff != "" {
			t.Errorf("signals (-want +got):\n%s", diff)
		}
		if s.open != 0 {
			t.Errorf("%d logs are still open", s.open)
		}
		if len(changes) != 1 || !changes[0].Alive {
			t.Errorf("OnChange reported %+v, want once that the log is alive: an overrun is counted, not reported", changes)
		}
		if k.Status().Alive {
			t.Error("Status says alive after Run has returned")
		}
	})
}

func TestKmsgBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := &script{fails: map[int]error{}}
		for i := range 13 {
			s.fails[i] = fmt.Errorf("attempt: %w", os.ErrPermission)
		}
		s.fails[9] = fmt.Errorf("attempt: %w", os.ErrNotExist)
		s.fails[10] = s.fails[9]
		s.logs = []*fakeLog{{records: records(11, 12, fullLine), err: errors.New("broken")}}
		var reported []string
		k := &watcher.Kmsg{Open: s.Open, ReadBacklog: backlogUpTo(10), OnChange: func(s watcher.Status) {
			reported = append(reported, fmt.Sprintf("%t %v", s.Alive, s.Err))
		}}
		got := runKmsg(t, k, func() {
			time.Sleep(time.Minute)
			synctest.Wait()
		})
		var waits []time.Duration
		for i := 1; i < len(s.opens); i++ {
			waits = append(waits, s.opens[i].Sub(s.opens[i-1]))
		}
		ms := time.Millisecond
		want := []time.Duration{
			0, 10 * ms, 20 * ms, 40 * ms, 80 * ms, 160 * ms, 320 * ms, 640 * ms, 1280 * ms, 2560 * ms, 5000 * ms, 5000 * ms, 5000 * ms,
			0, // after the log that gave two lines and broke
		}
		if diff := cmp.Diff(want, waits); diff != "" {
			t.Errorf("waits between attempts (-want +got):\n%s", diff)
		}
		wantReported := []string{
			"false open kernel log: attempt: permission denied",
			"false open kernel log: attempt: file does not exist",
			"false open kernel log: attempt: permission denied",
			"true open kernel log: attempt: permission denied",
		}
		if diff := cmp.Diff(wantReported, reported); diff != "" {
			t.Errorf("OnChange (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]uint64{unnamed: 2}, sum(got)); diff != "" {
			t.Errorf("signals (-want +got):\n%s", diff)
		}
		if time.Since(start) < time.Minute {
			t.Error("the test did not wait")
		}
	})
}

func TestKmsgWithoutProgressIsNotAlive(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"a broken log", &fs.PathError{Op: "read", Path: "/dev/kmsg", Err: syscall.EIO}, "read kernel log: read /dev/kmsg: input/output error"},
		{"a log that is overrun before each reading", overrun(), "kernel log overrun"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{}
				for range 40 {
					s.logs = append(s.logs, &fakeLog{err: c.err})
				}
				k := &watcher.Kmsg{Open: s.Open, ReadBacklog: backlogUpTo(10)}
				runKmsg(t, k, func() {
					time.Sleep(20 * time.Second)
					synctest.Wait()
					st := k.Status()
					if st.Alive || st.Err == nil || st.Err.Error() != c.want {
						t.Errorf("Status is %+v, want not alive because: %s", st, c.want)
					}
					if n := len(s.opens); n > 15 {
						t.Errorf("%d attempts in 20 s, want the back-off to grow", n)
					}
				})
			})
		})
	}
}

func TestKmsgSignalsBeforeTheLogIsReopened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{logs: []*fakeLog{{records: records(11, 12, fullLine), err: errors.New("broken")}}, fails: map[int]error{}}
		for i := 1; i < 40; i++ {
			s.fails[i] = os.ErrPermission
		}
		k := &watcher.Kmsg{Open: s.Open, ReadBacklog: backlogUpTo(10)}
		ctx, cancel := context.WithCancel(t.Context())
		inbox, ran := watcher.NewInbox(), make(chan struct{})
		go func() { defer close(ran); k.Run(ctx, inbox) }()
		time.Sleep(20 * time.Second) // it is in the middle of a back-off of 5 s
		synctest.Wait()
		before := len(s.opens)
		<-inbox.Wake()
		if got := inbox.Drain(); len(got) != 1 || got[0].Count != 2 || len(s.opens) != before {
			t.Errorf("signals %+v after %d more attempts, want both lines at once", got, len(s.opens)-before)
		}
		cancel()
		<-ran
	})
}

func TestKmsgWithoutABacklogStartsAtTheEnd(t *testing.T) {
	noPast := func(uint64) (watcher.Backlog, error) { return watcher.Backlog{}, os.ErrPermission }
	empty := func(uint64) (watcher.Backlog, error) { return watcher.Backlog{}, nil }
	for name, past := range map[string]func(uint64) (watcher.Backlog, error){"none": nil, "unreadable": noPast, "empty": empty} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{logs: []*fakeLog{{records: records(1, 9, fullLine)}}}
				k := &watcher.Kmsg{Open: s.Open, ReadBacklog: past}
				got := runKmsg(t, k, func() {
					if !k.Status().Alive {
						t.Error("Status is not alive while nothing comes")
					}
				})
				if s.seeks != 1 || len(got) != 0 {
					t.Errorf("%d moves to the end and %d signals, want 1 and none", s.seeks, len(got))
				}
			})
		})
	}
	t.Run("and says when it cannot", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &script{logs: []*fakeLog{{seekErr: syscall.EINVAL}, {seekErr: syscall.EINVAL}}}
			k := &watcher.Kmsg{Open: s.Open}
			runKmsg(t, k, func() {
				if err := k.Status().Err; !errors.Is(err, syscall.EINVAL) {
					t.Errorf("Status.Err is %v, want EINVAL", err)
				}
				if s.open != 0 {
					t.Errorf("%d logs are open, want none", s.open)
				}
			})
		})
	})
}

func TestKmsgReportsMissedLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		when := time.Now().Add(-time.Hour)
		s := &script{logs: []*fakeLog{{records: records(1, 10, fullLine)}}}
		k := &watcher.Kmsg{Open: s.Open, ReadBacklog: func(uint64) (watcher.Backlog, error) {
			return watcher.Backlog{Records: 10, Seq: 10, TableFull: 7, FullAt: when}, nil
		}}
		got := runKmsg(t, k, func() {
			if st := k.Status(); st.Missed != 7 || !st.MissedAt.Equal(when) || st.Lines != 0 {
				t.Errorf("Status is %+v, want 7 missed an hour ago and none heard", st)
			}
		})
		if len(got) != 0 {
			t.Errorf("signals %+v, want none for lines from before", got)
		}
	})
}

// TestKmsgReportsLinesMissedBetweenRunsOnce begins again and again with the place that
// the run before has left.
func TestKmsgReportsLinesMissedBetweenRunsOnce(t *testing.T) {
	const boot = "12345678-9abc-def0-1234-56789abcdef0"
	const sec = time.Second
	when := time.Unix(2_000_000_000, 0)
	ring := watcher.Backlog{Records: 10, Seq: 20, Last: 30 * sec, FirstNew: 10 * sec, TableFull: 3, FullFirst: when, FullAt: when.Add(sec)}
	lost := ring
	lost.Lost = 4
	plain := strings.ReplaceAll(boot, "-", "")
	for _, c := range []struct {
		name, place string
		past        watcher.Backlog
		from        uint64
		missed      []watcher.Missed
		covers      map[time.Duration]bool
		left        string
	}{
		{
			name: "the first run of all has missed nothing", past: ring,
			covers: map[time.Duration]bool{30 * sec: false, 30*sec + 1: true}, left: boot + " 20\n",
		},
		{
			name: "an earlier run of this boot", place: boot + " 10\n", past: ring, from: 11,
			missed: []watcher.Missed{{Count: 3, First: when, Last: when.Add(sec), Boot: plain}},
			covers: map[time.Duration]bool{0: true, 10 * sec: true}, left: boot + " 20\n",
		},
		{
			name: "an earlier run, and lines that were overwritten since", place: boot + " 6\n", past: lost, from: 7,
			missed: []watcher.Missed{{Count: 3, First: when, Last: when.Add(sec), Boot: plain, Lost: 4}},
			covers: map[time.Duration]bool{10*sec - 1: false, 10 * sec: true}, left: boot + " 20\n",
		},
		{
			name: "a run in another boot", place: "0000 99\n", past: ring,
			missed: []watcher.Missed{{Count: 3, First: when, Last: when.Add(sec), Boot: plain}},
			covers: map[time.Duration]bool{0: true}, left: boot + " 20\n",
		},
		{
			name: "nothing said since", place: boot + " 20\n", past: watcher.Backlog{Records: 10, Seq: 20, Last: 30 * sec}, from: 21,
			covers: map[time.Duration]bool{0: true}, left: boot + " 20\n",
		},
		{
			name: "a file that holds no place", place: "rubbish\n", past: ring,
			covers: map[time.Duration]bool{30 * sec: false}, left: boot + " 20\n",
		},
		{
			name: "a number that is none", place: boot + " -1\n", past: ring,
			covers: map[time.Duration]bool{30 * sec: false}, left: boot + " 20\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kmsg.place")
			if c.place != "" {
				if err := os.WriteFile(path, []byte(c.place), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var from uint64
			var missed []watcher.Missed
			k := &watcher.Kmsg{PositionPath: path, Boot: boot}
			k.ReadBacklog = func(f uint64) (watcher.Backlog, error) { from, c.past.From = f, f; return c.past, nil }
			k.OnMissed = func(m watcher.Missed) { missed = append(missed, m) }
			k.Start()
			k.Start()
			if from != c.from {
				t.Errorf("reads from record %d, want %d", from, c.from)
			}
			if n := k.Status().Lost; n != c.past.Lost {
				t.Errorf("status says %d were lost, want %d", n, c.past.Lost)
			}
			if diff := cmp.Diff(c.missed, missed); diff != "" {
				t.Errorf("missed (-want +got):\n%s", diff)
			}
			for at, want := range c.covers {
				if k.Covers(at) != want {
					t.Errorf("covers a line of %s: %t, want %t", at, !want, want)
				}
			}
			left, err := os.ReadFile(path)
			if err != nil || string(left) != c.left {
				t.Errorf("leaves %q, %v, want %q", left, err, c.left)
			}
		})
	}
}

func TestKmsgWithoutABacklogCoversNothing(t *testing.T) {
	k := &watcher.Kmsg{ReadBacklog: func(uint64) (watcher.Backlog, error) { return watcher.Backlog{}, os.ErrPermission }}
	k.Start()
	if k.Covers(time.Hour) {
		t.Error("covers a line of a log that can't be read")
	}
}

// TestKmsgSavesItsPosition stops and looks at what the next run will find.
func TestKmsgSavesItsPosition(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmsg.place")
	synctest.Test(t, func(t *testing.T) {
		s := &script{logs: []*fakeLog{{records: records(1, 25, "usb")}}}
		k := &watcher.Kmsg{Open: s.Open, ReadBacklog: backlogUpTo(10), PositionPath: path, Boot: "b"}
		runKmsg(t, k, nil)
	})
	if left, err := os.ReadFile(path); err != nil || string(left) != "b 25\n" {
		t.Errorf("the place is %q, %v, want record 25", left, err)
	}
	k := &watcher.Kmsg{ReadBacklog: backlogUpTo(10), PositionPath: filepath.Join(path, "no directory"), Boot: "b"}
	k.Start()
	if k.Status().Err == nil {
		t.Error("an error of writing the position is lost")
	}
}

func TestKmsgDoesNotWaitForItsReader(t *testing.T) {
	const lines = 100_000
	synctest.Test(t, func(t *testing.T) {
		var rs []kmsg.Message
		for i := range lines {
			text := fullLine
			if i%2 == 0 {
				text = fmt.Sprintf(fullNetNS, 1+i%1000)
			}
			rs = append(rs, record(i, text))
		}
		s := &script{logs: []*fakeLog{{records: rs}}}
		k := &watcher.Kmsg{Open: s.Open, ReadBacklog: backlogUpTo(0)} // passes over record 0
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		inbox := watcher.NewInbox()
		ran := make(chan struct{})
		go func() { defer close(ran); k.Run(ctx, inbox) }()
		synctest.Wait() // Run has read everything, and nobody took a signal
		if heard := k.Status().Lines; heard != lines-1 {
			t.Errorf("heard %d lines, want %d", heard, lines-1)
		}
		got := inbox.Drain()
		cancel()
		<-ran
		if len(got) > 66 {
			t.Errorf("%d signals wait, want at most 64, one for the rest and one without a name", len(got))
		}
		total := sum(got)
		if total[unnamed] != lines/2 {
			t.Errorf("%d lines without a name, want %d: a namespace must not pass for the initial one", total[unnamed], lines/2)
		}
		all, others := uint64(0), total["netns=0 named=true"]
		for _, n := range total {
			all += n
		}
		if all != lines-1 || others == 0 {
			t.Errorf("signals count %d lines, %d of them in further namespaces, want %d in all", all, others, lines-1)
		}
	})
}

func TestKmsgCountsSuppressedLinesAndSignalsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{logs: []*fakeLog{{records: []kmsg.Message{
			record(11, "net_ratelimit: 3 callbacks suppressed"), record(12, "net_ratelimit: 4 callbacks suppressed"),
		}}}}
		k := &watcher.Kmsg{Open: s.Open, ReadBacklog: backlogUpTo(10)}
		if got := runKmsg(t, k, nil); len(got) != 0 {
			t.Errorf("signals %+v: suppressed lines may be of any part of networking", got)
		}
		if n := k.Status().Lines; n != 2 {
			t.Errorf("%d lines heard, want 2", n)
		}
	})
}

func TestKmsgStopsDuringAFlood(t *testing.T) {
	// synctest fails the test if a goroutine is left when it ends.
	synctest.Test(t, func(t *testing.T) {
		s := &script{logs: []*fakeLog{{records: records(11, 5000, strings.Repeat("x", 100))}}}
		k := &watcher.Kmsg{Open: s.Open, ReadBacklog: backlogUpTo(10)}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() { defer close(ran); k.Run(ctx, watcher.NewInbox()) }()
		runtime.Gosched()
		cancel()
		<-ran
		if s.open != 0 {
			t.Errorf("%d logs are still open", s.open)
		}
	})
}
