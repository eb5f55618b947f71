package watcher_test

import (
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	kmsg "github.com/euank/go-kmsg-parser/v2/kmsgparser"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// A flooded log is what a test saw of the records that Kmsg was given.
type floodedLog struct {
	// begin is the text from which on records count, begun what happens then.
	begin string
	begun chan struct{}

	taken, full atomic.Uint64 // records, and lines of the kernel about a full table
	first, last atomic.Uint64 // sequence numbers, 0: none
}

// see counts a record, as Kmsg should. It is called by one goroutine at a time.
func (f *floodedLog) see(r kmsg.Message) {
	seq := uint64(r.SequenceNumber)
	if f.first.Load() == 0 {
		if strings.HasPrefix(r.Message, f.begin) {
			f.first.Store(seq)
			f.last.Store(seq)
			close(f.begun)
		}
		return
	}
	if seq <= f.last.Load() {
		return // the log was opened again, at its oldest record
	}
	f.last.Store(seq)
	f.taken.Add(1)
	line, _, _ := strings.Cut(r.Message, "\n")
	if m, ok := conntrack.ParseMessage(line); ok && r.Priority>>3 == 0 && m.Kind == conntrack.TableFull {
		f.full.Add(1)
	}
}

// TestKmsgReadsThroughAHundredThousandLinesASecond writes a million
// lines into the kernel log, in ten seconds where the machine can, while the
// kernel complains of a full table. Each record is taken or counted as lost,
// and each complaint among those taken is heard.
func TestKmsgReadsThroughAHundredThousandLinesASecond(t *testing.T) {
	needKmsg(t)
	if !mayTouchHost() {
		t.Skip("needs CTWARDEN_TEST_HOST=1: it overwrites the kernel log of the host")
	}
	write := writeKmsgUnlimited(t)
	_, complain := overflow(t)
	log := floodedLog{begin: marker(t) + " begins", begun: make(chan struct{})}
	ended := make(chan struct{}, 1)
	end := marker(t) + " ends"
	k, out, stop := start(t, openValve(), func(r kmsg.Message) {
		log.see(r)
		if strings.HasPrefix(r.Message, end) {
			ended <- struct{}{}
		}
	})
	write("<15>" + log.begin)
	await(t, "the marker before the flood", log.begun)
	signalled := countFull(out)
	before, memory := k.Status(), heapInUse()
	const perSecond, burst = 100_000, 100
	seconds := 10
	if inVM() {
		seconds = 1 // an emulated processor takes ten times as long
	}
	begun := time.Now()
	for i := range seconds * perSecond / burst {
		for j := range burst {
			write("<15>ctwarden test: filler " + strconv.Itoa(i*burst+j))
		}
		if i%(perSecond/burst) == 0 {
			complain()
		}
		// The pace of the flood, where the machine is faster.
		time.Sleep(time.Until(begun.Add(time.Duration(i) * (time.Second * burst / perSecond))))
	}
	took := time.Since(begun)
	grown := int64(heapInUse()) - int64(memory)
	write("<15>" + end)
	await(t, "the marker behind the flood", ended)
	stop()
	after := k.Status()
	lost := after.Lost - before.Lost
	if span := log.last.Load() - log.first.Load(); log.taken.Load()+lost != span {
		t.Errorf("of %d records %d were taken and %d are counted as lost", span, log.taken.Load(), lost)
	}
	if n := signalled(); n != log.full.Load() || n == 0 {
		t.Errorf("signals tell of %d lines about a full table, the log gave %d", n, log.full.Load())
	}
	if after.Lines-before.Lines < log.full.Load() {
		t.Errorf("status says %d lines were read of %d", after.Lines-before.Lines, log.full.Load())
	}
	const flat = 4 << 20
	if grown > flat {
		t.Errorf("%d bytes of memory more after the flood, want at most %d", grown, flat)
	}
	t.Logf("%d lines in %s, %.0f a second; %d records taken, %d lost, %d lines of the kernel read; log opened again %d times; memory %+d KiB",
		seconds*perSecond, took.Round(time.Millisecond), float64(seconds*perSecond)/took.Seconds(), log.taken.Load(), lost, log.full.Load(),
		after.Reopened-before.Reopened, grown>>10)
}

// countFull adds up the lines about full tables until nothing more comes, and
// returns how many there were when it is asked, which ends it.
func countFull(out <-chan policy.Signal) func() uint64 {
	stop, sum := make(chan struct{}), make(chan uint64)
	go func() {
		n := uint64(0)
		add := func(s policy.Signal) { n += s.Count }
		for {
			select {
			case s := <-out:
				add(s)
			case <-stop:
				for len(out) > 0 {
					add(<-out)
				}
				sum <- n
				return
			}
		}
	}()
	return func() uint64 { close(stop); return <-sum }
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
