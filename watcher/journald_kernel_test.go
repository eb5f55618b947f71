package watcher_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/watcher"
)

// insideEnv says that the process has a mount namespace of its own.
const insideEnv = "CTWARDEN_TEST_OWN_MOUNTS"

// insideMounts reports whether the process has a mount namespace of its own. If
// not, it runs the test once more in one, and then it is over.
func insideMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideEnv) != "" {
		return true
	}
	self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	self.Env = append(os.Environ(), insideEnv+"=1")
	self.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	text, err := self.CombinedOutput()
	switch {
	case err != nil:
		t.Fatalf("in a mount namespace of its own: %v\n%s", err, text)
	case bytes.Contains(text, []byte("--- SKIP")):
		t.Skipf("needs more than this host has:\n%s", text)
	}
	return false
}

// A journald is a real systemd-journald that imports the host's kernel log, in
// a mount namespace of its own.
type journald struct {
	path string
	// storage is what journald.conf calls volatile or persistent.
	storage string
	cmd     *exec.Cmd
}

// needJournald runs the test once more in a mount namespace of its own, and
// returns a daemon there. In the process that was started first it returns
// nil: the test is over.
func needJournald(t *testing.T, storage string) *journald {
	t.Helper()
	daemon := ""
	for _, path := range []string{"/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald"} {
		if _, err := os.Stat(path); err == nil {
			daemon = path
		}
	}
	if _, err := exec.LookPath("journalctl"); err != nil || daemon == "" {
		t.Skip("needs systemd-journald and journalctl (Debian package systemd)")
	}
	if !capable(t, capSysAdmin) {
		t.Skip("needs CAP_SYS_ADMIN to make a mount namespace")
	}
	needKmsg(t)
	if !insideMounts(t) {
		return nil
	}
	d := &journald{path: daemon, storage: storage}
	d.prepare(t)
	d.start(t)
	return d
}

// prepare gives the daemon a /run and a /var/log of its own.
func (d *journald) prepare(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"/run", "/var/log"} {
		if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"/run/systemd/journal", "/run/systemd/journald.conf.d", "/run/log/journal", "/var/log/journal"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config := "[Journal]\nStorage=" + d.storage + "\nReadKMsg=yes\nRateLimitIntervalSec=0\nForwardToSyslog=no\n" +
		"RuntimeMaxFileSize=4M\nRuntimeMaxFiles=3\nSystemMaxFileSize=4M\nSystemMaxFiles=3\n"
	if err := os.WriteFile("/run/systemd/journald.conf.d/test.conf", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stop)
}

func (d *journald) stop() {
	if d.cmd != nil {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		_ = d.cmd.Wait()
		d.cmd = nil
	}
}

// rotate has the daemon begin new files, and remove the oldest.
func (d *journald) rotate(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	awaitKernelLines(t)
}

// flush has the daemon move from /run to the disk, as when a machine has
// mounted its disks.
func (d *journald) flush(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		if files, _ := filepath.Glob("/var/log/journal/*/system.journal"); len(files) > 0 {
			awaitKernelLines(t)
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("journald does not move to the disk")
		}
		time.Sleep(20 * time.Millisecond) // another program's work
	}
}

// vacuum removes every file that the daemon does not write to any more.
func (d *journald) vacuum(t *testing.T) {
	t.Helper()
	d.rotate(t)
	if text, err := exec.CommandContext(t.Context(), "journalctl", "--vacuum-files=1").CombinedOutput(); err != nil {
		t.Fatalf("vacuum: %v\n%s", err, text)
	}
	if left := archived(t); len(left) > 0 {
		t.Fatalf("vacuum left %v", left)
	}
}

// archived are the files that the daemon does not write to any more.
func archived(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/*/log/journal/*/*@*.journal")
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// start starts the daemon and waits until it answers.
func (d *journald) start(t *testing.T) {
	t.Helper()
	d.cmd = exec.Command(d.path)
	d.cmd.Stderr = os.Stderr
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		c, err := net.Dial("unixgram", "/run/systemd/journal/socket")
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("journald does not answer: %v", err)
		}
		time.Sleep(20 * time.Millisecond) // another program's start
	}
}

// forge says a line in every way that a program has.
func forge(t *testing.T, text string) {
	t.Helper()
	send := func(socket, message string) {
		c, err := net.Dial("unixgram", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte(message)); err != nil {
			t.Fatalf("write to %s: %v", socket, err)
		}
	}
	send("/run/systemd/journal/dev-log", "<4>"+text)         // logger -p kern.warning
	send("/run/systemd/journal/dev-log", "<4>kernel: "+text) // and as the kernel
	native := "_TRANSPORT=kernel\nSYSLOG_FACILITY=0\nPRIORITY=4\nSYSLOG_IDENTIFIER=kernel\nMESSAGE=" + text + "\n"
	send("/run/systemd/journal/socket", native)
	size := binary.LittleEndian.AppendUint64([]byte("_TRANSPORT\n"), uint64(len("kernel")))
	send("/run/systemd/journal/socket", string(size)+"kernel\nSYSLOG_FACILITY=0\nMESSAGE="+text+"\n")
	writeKmsg(t)("<4>" + text) // /dev/kmsg
}

// runJournaldThrough runs a Journald on the real journal.
func runJournaldThrough(t *testing.T, cursorPath string) (j *watcher.Journald, out chan policy.Signal, missed chan watcher.Missed, stop func()) {
	t.Helper()
	return runJournaldBeside(t, cursorPath, nil)
}

// runJournaldBeside has a kernel log that may cover what the journal has.
func runJournaldBeside(t *testing.T, cursorPath string, covers func(time.Duration) bool) (j *watcher.Journald, out chan policy.Signal, missed chan watcher.Missed, stop func()) {
	t.Helper()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	if err := watcher.CheckJournal(""); err != nil {
		t.Fatal(err)
	}
	j = watcher.NewJournald(cursorPath, strings.TrimSpace(string(boot)))
	j.CoveredByKmsg = covers
	alive := make(chan struct{}, 1)
	j.OnChange = func(s watcher.Status) {
		if s.Alive {
			select {
			case alive <- struct{}{}:
			default:
			}
		}
	}
	missed = make(chan watcher.Missed, 64)
	j.OnMissed = func(m watcher.Missed) { missed <- m }
	ctx, cancel := context.WithCancel(t.Context())
	inbox, ended := watcher.NewInbox(), make(chan struct{})
	out, drained := drain(inbox, ended)
	go func() { defer close(ended); j.Run(ctx, inbox) }()
	stop = func() { cancel(); <-drained }
	t.Cleanup(stop)
	await(t, "the journal to be read", alive)
	return j, out, missed, stop
}

func TestJournaldIgnoresForgedLines(t *testing.T) {
	if needJournald(t, "volatile") == nil {
		return
	}
	_, out, _, stop := runJournaldThrough(t, "")
	const nobody = 12345 // no namespace has such a number
	forge(t, "nf_conntrack: nf_conntrack: table full in netns 12345, dropping packet")
	// What was said before is in the journal once this is.
	end := marker(t)
	forge(t, end)
	awaitInJournal(t, end, 5)
	stop()
	for len(out) > 0 {
		if s := <-out; s.NetNS == nobody {
			t.Errorf("signalled a line that the kernel did not write: %+v", s)
		}
	}
}

// awaitInJournal waits until the journal has at least n lines with a text.
func awaitInJournal(t *testing.T, text string, n int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		found, err := exec.CommandContext(t.Context(), "journalctl", "--quiet", "--output=cat").Output()
		if err == nil && strings.Count(string(found), text) >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("journald took in %d of %d lines, %v", strings.Count(string(found), text), n, err)
		}
		time.Sleep(20 * time.Millisecond) // another program's work
	}
}

// overflow fills a table so that nothing can be evicted, and returns a function
// that makes the kernel complain about it. It writes no sysctl.
func overflow(t *testing.T) (inode uint32, complain func()) {
	t.Helper()
	needNetNS(t)
	ns := cttest.NewNS(t)
	track(t, ns)
	g := &watcher.TableReader{NetNS: ns}
	defer func() { _ = g.Close() }()
	room := read(t, g).Table.Max
	if room == 0 || room > 300_000 {
		t.Skipf("needs an nf_conntrack_max between 1 and 300,000 to fill a table, not %d", room)
	}
	cttest.NeedRoom(t, int(room))
	cttest.Fill(t, ns, int(room), cttest.Assured())
	return ns.Inode(), func() {
		t.Helper()
		if flood(t, ns, 50) == 0 {
			t.Fatal("no packet was refused: the table is not full")
		}
	}
}

// needLong skips a test that has a target of its own.
func needLong(t *testing.T) {
	t.Helper()
	if os.Getenv("CTWARDEN_TEST_LONG") != "1" {
		t.Skip("takes most of a minute: make long")
	}
}

func TestJournaldReadsKernelLines(t *testing.T) {
	needLong(t)
	testThroughStorage(t, "volatile", nil)
}

func TestJournaldReadsKernelLinesFromPersistentStorage(t *testing.T) {
	needLong(t)
	testThroughStorage(t, "persistent", (*journald).flush)
}

// testThroughStorage listens through all that can happen to a journal; first, if not
// nil, happens while the journal is read.
func testThroughStorage(t *testing.T, storage string, first func(*journald, *testing.T)) {
	t.Helper()
	d := needJournald(t, storage)
	if d == nil {
		return
	}
	inode, complain := overflow(t)
	path := filepath.Join(t.TempDir(), "journal.cursor")
	j, out, _, stop := runJournaldThrough(t, path)
	again := func(what string) policy.Signal {
		t.Helper()
		waitOutLimiter()
		for len(out) > 0 {
			<-out
		}
		complain()
		return await(t, what, out)
	}
	s := again("the journal to tell that the table is full")
	if s.Source != "journald" {
		t.Errorf("signal %+v", s)
	}
	if s.Named != kernelNamesNetNS(t) || s.Named && s.NetNS != inode {
		t.Errorf("signal %+v, want the namespace %d if this kernel names it", s, inode)
	}
	if first != nil {
		first(d, t)
		again("a line after the journal has moved")
	}
	for range 5 {
		d.rotate(t)
	}
	again("a line after rotations that removed the first files")
	d.vacuum(t)
	again("a line after a vacuum")
	d.stop()
	d.start(t)
	awaitKernelLines(t)
	again("a line after a restart of journald")
	d.stop()
	corrupt(t)
	d.start(t)
	awaitKernelLines(t)
	again("a line after a file was corrupted")
	stop()
	waitOutLimiter()
	complain() // ctwarden does not run
	awaitKernelLines(t)
	_, out, missed, stop := runJournaldThrough(t, path)
	m := await(t, "the report of missed lines", missed)
	if m.Count == 0 || m.Count > 20 || time.Since(m.Last) > time.Hour || m.First.After(m.Last) {
		t.Errorf("missed %+v", m)
	}
	stop()
	if len(out) != 0 {
		t.Errorf("acted on %d lines of the past", len(out))
	}
	// The place that was kept is in a file that is gone by the next start.
	d.vacuum(t)
	_, out, _, stop = runJournaldThrough(t, path)
	again("a line after the place to go on from was removed")
	stop()
	t.Logf("opened again %d times, last error %v", j.Status().Reopened, j.Status().Err)
}

// TestLinesMissedByBothSourcesAreReportedOnce stops both and begins again after the
// kernel has complained.
func TestLinesMissedByBothSourcesAreReportedOnce(t *testing.T) {
	needLong(t)
	if needJournald(t, "volatile") == nil {
		return
	}
	_, complain := overflow(t)
	dir := t.TempDir()
	cursor := filepath.Join(dir, "journal.cursor")
	log := func() (k *watcher.Kmsg, missed uint64) {
		k = watcher.NewKmsg()
		k.PositionPath, k.Boot = filepath.Join(dir, "kmsg.place"), "b00t"
		k.OnMissed = func(m watcher.Missed) { missed += m.Count }
		k.Start()
		return k, missed
	}
	_, out, _, stop := runJournaldThrough(t, cursor)
	waitOutLimiter()
	complain()
	await(t, "the journal to tell that the table is full", out)
	awaitKernelLines(t)
	stop()
	if _, n := log(); n != 0 {
		t.Errorf("the first run of all has missed %d lines", n)
	}
	waitOutLimiter()
	complain() // ctwarden does not run
	awaitKernelLines(t)
	k, n := log()
	if n == 0 {
		t.Error("kmsg reported no missed lines")
	}
	j, out, missed, stop := runJournaldBeside(t, cursor, k.Covers)
	waitOutLimiter()
	complain()
	await(t, "the journal to tell what is new", out)
	stop()
	if len(missed) != 0 || j.Status().Missed != 0 {
		t.Errorf("the journal reported them again: %+v", <-missed)
	}
}

// corrupt overwrites the newer half of what is in the files of the journal.
func corrupt(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("/*/log/journal/*/system.journal")
	if err != nil || len(files) == 0 {
		t.Fatalf("no journal to corrupt: %v", err)
	}
	for _, file := range files {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		header := make([]byte, 144)
		if _, err := f.ReadAt(header, 0); err != nil {
			t.Fatal(err)
		}
		// Offset of the last object, in struct Header of journal-def.h.
		end := int64(binary.LittleEndian.Uint64(header[136:]))
		if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, int(end/4)), end*3/4); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// waitOutLimiter waits until the kernel may speak again: it says ten lines in
// five seconds (net_ratelimit).
func waitOutLimiter() { time.Sleep(5100 * time.Millisecond) }

// awaitKernelLines waits until journald has taken in the kernel log.
func awaitKernelLines(t *testing.T) {
	t.Helper()
	end := marker(t)
	writeKmsg(t)(end)
	awaitInJournal(t, end, 1)
}
