package watcher_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	kmsg "github.com/euank/go-kmsg-parser/v2/kmsgparser"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/watcher"
)

func needKmsg(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/dev/kmsg"); err != nil {
		t.Skip("needs /dev/kmsg")
	}
	restrict, err := os.ReadFile("/proc/sys/kernel/dmesg_restrict")
	if err == nil && strings.TrimSpace(string(restrict)) != "0" && !capable(t, capSyslog) {
		t.Skip("needs CAP_SYSLOG to read the kernel log: dmesg_restrict is on")
	}
}

// writeKmsg opens the kernel log for writing, as a user does. It ends each text with
// a newline: without, the record stays open for more, and unread, until
// the next one (prb_commit in kernel/printk/printk_ringbuffer.c).
func writeKmsg(t *testing.T) func(text string) {
	t.Helper()
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("needs root to write to the kernel log: %v", err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return func(text string) {
		t.Helper()
		if _, err := f.WriteString(text + "\n"); err != nil {
			t.Fatalf("write to the kernel log: %v", err)
		}
	}
}

// writeKmsgUnlimited also lifts the limit of ten lines in five seconds, which is
// the host's, and puts it back. The kernel wants the newline.
func writeKmsgUnlimited(t *testing.T) func(text string) {
	t.Helper()
	const knob = "/proc/sys/kernel/printk_devkmsg"
	before, err := os.ReadFile(knob)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(knob, []byte("on\n"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(knob, before, 0); err != nil {
			t.Errorf("put %s back: %v", knob, err)
		}
	})
	return writeKmsg(t)
}

// A tap is the library's own parser with a valve behind it: while it is shut
// the library reads no further, as when the machine is too busy to read.
type tap struct {
	kmsg.Parser
	valve <-chan struct{}
	seen  func(kmsg.Message) // after Kmsg has taken the record
}

func (p *tap) Parse() <-chan kmsg.Message {
	in, out := p.Parser.Parse(), make(chan kmsg.Message)
	go func() {
		defer close(out)
		for r := range in {
			<-p.valve
			out <- r
			p.seen(r)
		}
	}()
	return out
}

// start runs a Kmsg on the real log and waits until it is alive. stop ends it
// and waits until it has ended.
func start(t *testing.T, valve <-chan struct{}, seen func(kmsg.Message)) (k *watcher.Kmsg, out chan policy.Signal, stop func()) {
	t.Helper()
	k = watcher.NewKmsg()
	open, alive := k.Open, make(chan struct{}, 1)
	k.Open = func() (kmsg.Parser, error) {
		p, err := open()
		if err != nil {
			return nil, err
		}
		return &tap{p, valve, seen}, nil
	}
	k.OnChange = func(s watcher.Status) {
		// A slow machine can be overrun again before it has read a record.
		if !s.Alive && !strings.Contains(s.Err.Error(), "overrun") {
			t.Errorf("the kernel log cannot be read: %v", s.Err)
		}
		select {
		case alive <- struct{}{}:
		default:
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	inbox, ended := watcher.NewInbox(), make(chan struct{})
	out, drained := drain(inbox, ended)
	go func() { defer close(ended); k.Run(ctx, inbox) }()
	stop = func() { cancel(); <-drained }
	t.Cleanup(stop)
	await(t, "the log to come alive", alive)
	return k, out, stop
}

// await fails the test if nothing comes in a time in which everything would.
func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("waited a minute for %s", what)
		panic("unreachable")
	}
}

func marker(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("ctwarden %s %d", t.Name(), time.Now().UnixNano())
}

func openValve() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestKmsgIgnoresLinesOfUsers(t *testing.T) {
	needKmsg(t)
	write := writeKmsg(t)
	devkmsg, err := os.ReadFile("/proc/sys/kernel/printk_devkmsg")
	if err == nil && strings.TrimSpace(string(devkmsg)) == "off" {
		t.Skip("needs kernel.printk_devkmsg other than off")
	}
	end, text := marker(t), "nf_conntrack: nf_conntrack: table full, dropping packet"
	var forged []kmsg.Message // until ended
	ended := make(chan struct{}, 1)
	k, out, stop := start(t, openValve(), func(r kmsg.Message) {
		switch line, _, _ := strings.Cut(r.Message, "\n"); {
		case line == text:
			forged = append(forged, r)
		case strings.HasPrefix(line, end):
			ended <- struct{}{}
		}
	})
	before := k.Status().Lines
	write("<4>" + text) // asks for facility 0, level warning
	write(text)         // and without asking
	write("<4>x\n" + text)
	write(end)
	await(t, "the end marker", ended)
	stop()
	if len(forged) == 0 {
		t.Skip("needs the forged line to reach the log: the limit on /dev/kmsg withheld it")
	}
	for _, r := range forged {
		if r.Priority>>3 == 0 {
			t.Errorf("the kernel gave a user's line facility 0: %+v", r)
		}
	}
	if heard := k.Status().Lines; heard != before || len(out) != 0 {
		t.Errorf("%d signals for lines of a user, want none", heard-before)
	}
}

func TestKmsgSurvivesARealOverrun(t *testing.T) {
	needKmsg(t)
	if !mayTouchHost() {
		t.Skip("needs CTWARDEN_TEST_HOST=1: it overwrites the kernel log of the host")
	}
	ring, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		t.Fatalf("ask for the size of the kernel log: %v", err)
	}
	write := writeKmsgUnlimited(t)
	valve, ended := make(chan struct{}), make(chan struct{}, 1)
	end := marker(t)
	goroutines := runtime.NumGoroutine()
	// The valve is open until the log is alive, then shut.
	shut := make(chan struct{})
	relay := make(chan struct{})
	go func() {
		defer close(relay)
		for {
			select {
			case relay <- struct{}{}:
			case <-shut:
				<-valve
				return
			}
		}
	}()
	k, _, stop := start(t, relay, func(r kmsg.Message) {
		if strings.HasPrefix(r.Message, end) {
			ended <- struct{}{}
		}
	})
	close(shut)
	before := k.Status()
	const size = 900
	lines := 3*ring/size + 100
	for i := range lines {
		write("<15>ctwarden test: filler " + strconv.Itoa(i) + " " + strings.Repeat("x", size))
	}
	close(valve)
	write("<15>" + end)
	await(t, "the marker behind the overrun", ended)
	stop()
	after := k.Status()
	if after.Reopened == before.Reopened {
		t.Error("the log was not opened again: the ring was not overrun")
	}
	lost := after.Lost - before.Lost
	if lost < uint64(lines)/3 || lost > uint64(lines)+100 {
		t.Errorf("%d records lost of %d written, want about two thirds", lost, lines)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	t.Logf("ring of %d bytes, %d lines written, %d lost, opened again %d times", ring, lines, lost, after.Reopened)
}

func TestKmsgReadsALineAboutAFullTable(t *testing.T) {
	needKmsg(t)
	needNetNS(t)
	if !inVM() {
		t.Skip("needs CTWARDEN_TEST_VM=1: it lowers nf_conntrack_max for the whole machine")
	}
	const knob = "/proc/sys/net/netfilter/nf_conntrack_max"
	before, err := os.ReadFile(knob)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(knob, before, 0); err != nil {
			t.Errorf("put nf_conntrack_max back: %v", err)
		}
	})
	if err := os.WriteFile(knob, []byte("200"), 0); err != nil {
		t.Fatal(err)
	}
	ns := newNetNS(t)
	track(t, ns)
	g := &watcher.TableReader{NetNS: ns}
	t.Cleanup(func() { _ = g.Close() })
	read(t, g)
	k, out, stop := start(t, openValve(), func(kmsg.Message) {})
	refused := flood(t, ns, 2000)
	if refused == 0 {
		t.Fatal("no packet was refused: the table did not fill")
	}
	// The kernel says ten such lines in five seconds, which an earlier test may
	// have used up.
	var s policy.Signal
	again, late := time.NewTicker(time.Second), time.After(time.Minute)
	defer again.Stop()
	for s.Count == 0 {
		select {
		case s = <-out:
		case <-again.C:
			refused += flood(t, ns, 50)
		case <-late:
			t.Fatal("waited a minute for the kernel to say that the table is full")
		}
	}
	stop()
	if s.Source != "kmsg" {
		t.Errorf("signal %+v, want one of the kernel log", s)
	}
	if s.Named != kernelNamesNetNS(t) || s.Named && s.NetNS != ns.Inode() {
		t.Errorf("signal %+v, want the namespace %d if this kernel names it", s, ns.Inode())
	}
	if got := k.Status().Lines; got == 0 || got > 20 {
		t.Errorf("heard %d lines, want some, but no more than the limiter lets through", got)
	}
	sample := read(t, g)
	if sample.CountersFrom == "" {
		t.Skipf("needs CONFIG_NF_CONNTRACK_PROCFS to compare the counters: %v", sample.CountersErr)
	}
	c := sample.Table.Counters
	if c.Drop != uint64(refused) || c.FullDrops() != uint64(refused) {
		t.Errorf("counters say %d drops, %d of them for a full table; the sender saw %d", c.Drop, c.FullDrops(), refused)
	}
	if sample.Table.Max != 200 || sample.Table.Entries < 150 {
		t.Errorf("the full table reads as %+v", sample.Table)
	}
	past, err := k.ReadBacklog(0)
	if err != nil || past.TableFull == 0 || time.Since(past.FullAt) > time.Hour || past.FullAt.After(time.Now().Add(time.Minute)) {
		t.Errorf("the past of the log is %+v, %v, want the lines of just now", past, err)
	}
}

// kernelNamesNetNS reports whether the kernel is 6.17 or later.
func kernelNamesNetNS(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 17
}
