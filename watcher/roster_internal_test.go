package watcher

import (
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

// entriesOf is what a roster says of each namespace, by what runs in it.
func entriesOf(r *Roster) map[string]uint64 {
	all := map[string]uint64{}
	for _, n := range r.All() {
		all[n.Comm] = n.Entries
	}
	return all
}

func TestRosterIsNotFooledByAProcessIDThatIsUsedAgain(t *testing.T) {
	proc := newFakeProc(t)
	web := proc.process(77, "web", 500)
	r := &Roster{Root: proc.root, Own: 1}
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
	if n, here := r.Named(web); here || n.Comm != "web" || n.Entries != 500 {
		t.Errorf("of the old one it knows %+v, %t", n, here)
	}
	if n, here := r.Named(db); !here || n.Comm != "db" {
		t.Errorf("of the new one it knows %+v, %t", n, here)
	}
}

func TestRosterFollowsAProcessThatEntersAnotherNamespace(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(77, "web", 500)
	r := &Roster{Root: proc.root, Own: 1}
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
	if n, here := r.Named(inode); !here || n.PID != 77 {
		t.Errorf("knows %+v, %t", n, here)
	}
	if got := len(r.All()); got != 1 {
		t.Errorf("knows %d namespaces, want the new one only", got)
	}
}
