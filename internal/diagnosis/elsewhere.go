package diagnosis

import (
	"strconv"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/watcher"
)

// Elsewhere summarises the other network namespaces: each has a table of its
// own under the same max. Its JSON is a contract.
type Elsewhere struct {
	Namespaces int    `json:"namespaces"`
	Entries    uint64 `json:"entries"`
	// Unread are namespaces that could not be read, Hidden processes whose
	// namespaces are not known; Missing is what that takes.
	Unread  int    `json:"unread,omitempty"`
	Hidden  int    `json:"hidden_processes,omitempty"`
	Missing string `json:"missing,omitempty"`
	// Fullest have the most entries, the fullest first. Those without any are
	// left out.
	Fullest []FullTable `json:"fullest"`
}

// A FullTable is the table of another namespace.
type FullTable struct {
	Name string `json:"name"`
	watcher.Namespace
	// Fullness is of max, which is the same for all.
	Fullness conntrack.Permyriad `json:"fullness"`
}

const missing = "CAP_SYS_ADMIN and CAP_SYS_PTRACE: sudo ctwarden diagnose"

// Rank summarises the other namespaces that a sweep has read, and lists up to
// most of them, the fullest. Limit is max; where it is 0, which is no limit,
// none is full.
func Rank(sweep *watcher.Sweep, limit uint64, most int) *Elsewhere {
	e := &Elsewhere{
		Namespaces: sweep.Namespaces, Entries: sweep.Entries, Unread: sweep.Unread, Hidden: sweep.Hidden, Fullest: []FullTable{},
	}
	if e.Unread > 0 || e.Hidden > 0 {
		e.Missing = missing
	}
	for _, ns := range sweep.Full[:min(most, len(sweep.Full))] {
		e.Fullest = append(e.Fullest, FullTable{ns.Name(), ns, conntrack.Share(ns.Entries, limit)})
	}
	return e
}

// print prints the other namespaces, unless there are none.
func (e *Elsewhere) print(s *screen, own uint64) {
	if e == nil || e.Namespaces == 0 && e.Hidden == 0 {
		return
	}
	s.write("")
	s.say("elsewhere", "%d other network namespaces with %d entries", e.Namespaces, e.Entries)
	for i := range e.Fullest {
		t := &e.Fullest[i]
		s.say("", "%d entries (%s of max): %s, netns %d", t.Entries, t.Fullness.Percent(), t.Name, t.Inode)
	}
	if len(e.Fullest) > 0 && e.Fullest[0].Entries > own {
		s.say("", "the first is fuller than the table above: ctwarden diagnose --netns %s", e.Fullest[0].handle())
	}
	if e.Missing != "" {
		s.say("", "%d namespaces can't be read and %d processes can't be looked at: that takes %s", e.Unread, e.Hidden, e.Missing)
	}
}

// handle is how --netns finds the namespace again.
func (t *FullTable) handle() string {
	if t.Guessed {
		return strconv.Itoa(t.PID)
	}
	return strconv.FormatUint(uint64(t.Inode), 10)
}
