package watcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A fakeProc is a procfs of files below a directory: a namespace is the number
// of the file that stands for it.
type fakeProc struct {
	t    *testing.T
	root string
}

func newFakeProc(t *testing.T) *fakeProc {
	t.Helper()
	p := &fakeProc{t, t.TempDir()}
	p.write("self/mountinfo", "")
	return p
}

func (p *fakeProc) write(name, text string) (inode uint32) {
	p.t.Helper()
	path := filepath.Join(p.root, "proc", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		p.t.Fatal(err)
	}
	return uint32(info.Sys().(*syscall.Stat_t).Ino)
}

// process makes a process in a fresh namespace with so many entries. The files
// of an earlier one of this number stay, under another name, so that theirs are
// not used again.
func (p *fakeProc) process(pid int, comm string, entries int) (inode uint32) {
	p.t.Helper()
	dir := filepath.Join(p.root, "proc", fmt.Sprint(pid))
	if _, err := os.Stat(dir); err == nil {
		if err := os.Rename(dir, dir+".before"); err != nil {
			p.t.Fatal(err)
		}
	}
	const header = "entries searched found new invalid ignore delete delete_list insert insert_failed drop early_drop\n"
	p.write(fmt.Sprintf("%d/net/stat/nf_conntrack", pid), header+fmt.Sprintf("%08x ", entries)+strings.Repeat("00000000 ", 11)+"\n")
	p.write(fmt.Sprintf("%d/comm", pid), comm+"\n")
	return p.write(fmt.Sprintf("%d/ns/net", pid), "")
}

// entriesOf is what a known says of each namespace, by what runs in it.
func entriesOf(r *Known) map[string]uint64 {
	all := map[string]uint64{}
	for _, n := range r.All() {
		all[n.Comm] = n.Entries
	}
	return all
}

func TestKnownRecognisesAReusedProcessID(t *testing.T) {
	proc := newFakeProc(t)
	web := proc.process(77, "web", 500)
	r := &Known{Root: proc.root, Own: 1}
	if err := r.Search(); err != nil {
		t.Fatal(err)
	}
	if s := r.Sweep(1); s.Entries != 500 || s.Namespaces != 1 {
		t.Fatalf("sweep %+v", s)
	}
	db := proc.process(77, "db", 9) // the process has ended, and another has its number
	s := r.Sweep(1)
	if s.Entries != 9 || s.Namespaces != 1 {
		t.Errorf("sweep %+v of %v, want the 9 entries of the new one", s, entriesOf(r))
	}
	if n, here := r.Lookup(web); here || n.Comm != "web" || n.Entries != 500 {
		t.Errorf("of the old one it knows %+v, %t", n, here)
	}
	if n, here := r.Lookup(db); !here || n.Comm != "db" {
		t.Errorf("of the new one it knows %+v, %t", n, here)
	}
}

func TestKnownFollowsAProcessIntoAnotherNamespace(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(77, "web", 500)
	r := &Known{Root: proc.root, Own: 1}
	if err := r.Search(); err != nil {
		t.Fatal(err)
	}
	r.Sweep(1)
	// The link says where it is now, the file where it was.
	link := filepath.Join(proc.root, "proc/77/ns/net")
	if err := os.Rename(link, link+".before"); err != nil {
		t.Fatal(err)
	}
	inode := proc.write("77/ns/net", "")
	if err := r.Search(); err != nil {
		t.Fatal(err)
	}
	if n, here := r.Lookup(inode); !here || n.PID != 77 {
		t.Errorf("knows %+v, %t", n, here)
	}
	if got := len(r.All()); got != 1 {
		t.Errorf("knows %d namespaces, want the new one only", got)
	}
}

// join puts another process into the namespace of one.
func (p *fakeProc) join(pid, other int, comm string) {
	p.t.Helper()
	p.process(pid, comm, 0)
	path := func(pid int) string { return filepath.Join(p.root, "proc", fmt.Sprint(pid), "ns/net") }
	if err := errors.Join(os.Remove(path(pid)), os.Link(path(other), path(pid))); err != nil {
		p.t.Fatal(err)
	}
}

// TestKnownReadsProcessNamesTwice: a runtime prepares the namespace,
// and becomes the program a moment later.
func TestKnownReadsProcessNamesTwice(t *testing.T) {
	proc := newFakeProc(t)
	inode := proc.process(77, "runc:[2:INIT]", 1)
	r := &Known{Root: proc.root, Own: 1}
	search := func() string {
		t.Helper()
		if err := r.Search(); err != nil {
			t.Fatal(err)
		}
		n, _ := r.Lookup(inode)
		return n.Comm
	}
	search()
	proc.write("77/comm", "nginx\n")
	if got := search(); got != "nginx" {
		t.Errorf("called %q, want nginx", got)
	}
	proc.write("77/comm", "another\n")
	if got := search(); got != "nginx" {
		t.Errorf("looked at once more: %q", got)
	}
}

// TestKnownKeepsANameThatBecameUnreadable: the process has just ended.
func TestKnownKeepsANameThatBecameUnreadable(t *testing.T) {
	proc := newFakeProc(t)
	inode := proc.process(77, "nginx", 1)
	r := &Known{Root: proc.root, Own: 1}
	for range 2 {
		if err := r.Search(); err != nil {
			t.Fatal(err)
		}
		if n, _ := r.Lookup(inode); n.Comm != "nginx" {
			t.Errorf("called %q, want nginx", n.Comm)
		}
		if err := os.RemoveAll(filepath.Join(proc.root, "proc/77/comm")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKnownNamesANamespaceByItsFirstProcess, and forgets the number of the
// last one that has left.
func TestKnownNamesANamespaceByItsFirstProcess(t *testing.T) {
	proc := newFakeProc(t)
	inode := proc.process(501, "master", 1)
	for _, pid := range []int{907, 502, 4001, 12, 700, 33, 88, 650} {
		proc.join(pid, 501, fmt.Sprint("worker", pid))
	}
	proc.write("self/mountinfo", fmt.Sprintf("245 30 0:4 net:[%d] /run/netns/blue rw - nsfs nsfs rw\n", inode))
	r := &Known{Root: proc.root, Own: 1}
	if err := r.Search(); err != nil {
		t.Fatal(err)
	}
	if n, _ := r.Lookup(inode); n.PID != 12 || n.Comm != "worker12" {
		t.Errorf("known by %q, process %d; want the least, 12", n.Comm, n.PID)
	}
	if err := os.Rename(filepath.Join(proc.root, "proc"), filepath.Join(proc.root, "before")); err != nil {
		t.Fatal(err)
	}
	proc.write("self/mountinfo", fmt.Sprintf("245 30 0:4 net:[%d] /run/netns/blue rw - nsfs nsfs rw\n", inode))
	if err := r.Search(); err != nil {
		t.Fatal(err)
	}
	if n, here := r.Lookup(inode); !here || n.PID != 0 || n.Comm != "worker12" {
		t.Errorf("all have left: here %t, process %d, called %q", here, n.PID, n.Comm)
	}
}

// TestKnownDropsTheOldestFormerNamespace: namespaces come and go without end.
func TestKnownDropsTheOldestFormerNamespace(t *testing.T) {
	r := &Known{known: map[uint32]*knownNamespace{}, former: map[uint32]Namespace{}}
	vanish := func(inode uint32) {
		r.known[inode] = &knownNamespace{Namespace: Namespace{Inode: inode, RuntimeName: fmt.Sprint(inode)}, count: -1}
		r.remove(inode)
	}
	for i := range uint32(2 * maxFormer) {
		vanish(10 + i)
		vanish(5) // which comes back each time
	}
	if len(r.former) > maxFormer || len(r.formerOrder) > maxFormer || len(r.known) > 0 {
		t.Errorf("remembers %d in an order of %d, knows %d", len(r.former), len(r.formerOrder), len(r.known))
	}
	if n, _ := r.Lookup(9 + 2*maxFormer); n.RuntimeName == "" {
		t.Error("the last one to vanish is forgotten")
	}
	if n, _ := r.Lookup(10); n.RuntimeName != "" {
		t.Error("the first one to vanish is remembered")
	}
}
