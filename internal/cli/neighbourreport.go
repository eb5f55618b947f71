package cli

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ctwarden/ctwarden/watcher"
)

// A neighbourReport is what status says of the other namespaces. Its JSON is a
// contract.
type neighbourReport struct {
	// Namespaces is the number of others, Watched of those that have a table
	// in this status, Unread of those that could not be read, and Hidden of
	// the processes whose namespace is not known.
	Namespaces int    `json:"namespaces"`
	Watched    int    `json:"watched"`
	Unread     int    `json:"unread,omitempty"`
	Hidden     int    `json:"hidden_processes,omitempty"`
	Entries    uint64 `json:"entries"`
	// Most is what the fullest one holds.
	Most    uint64 `json:"most"`
	SweepNS int64  `json:"sweep_ns"`
	// Largest are those with the most entries.
	Largest []namedNamespace `json:"largest,omitempty"`
}

type namedNamespace struct {
	Name string `json:"name"`
	watcher.Namespace
}

const largestShown = 5

// report tells of the other namespaces.
func (n *neighbours) report() *neighbourReport {
	n.mu.Lock()
	r := &neighbourReport{
		Namespaces: n.sweep.Namespaces, Watched: len(n.watched), Unread: n.sweep.Unread, Hidden: n.sweep.Hidden,
		Entries: n.sweep.Entries, SweepNS: n.sweep.Took.Nanoseconds(),
	}
	n.mu.Unlock()
	all := n.roster.All()
	slices.SortStableFunc(all, func(a, b watcher.Namespace) int { return cmp.Compare(b.Entries, a.Entries) })
	for _, ns := range all[:min(largestShown, len(all))] {
		if ns.Entries > 0 {
			r.Largest = append(r.Largest, namedNamespace{ns.Name(), ns})
			r.Most = max(r.Most, ns.Entries)
		}
	}
	return r
}

// print prints what is known of the other namespaces, if they are watched.
func (r *neighbourReport) print(line func(string, string, ...any)) {
	if r == nil {
		return
	}
	text := fmt.Sprintf("%d others with %d entries, %d watched", r.Namespaces, r.Entries, r.Watched)
	if r.Unread > 0 {
		text += fmt.Sprintf(", %d can't be read (needs CAP_SYS_ADMIN)", r.Unread)
	}
	if r.Hidden > 0 {
		text += fmt.Sprintf(", %d processes can't be looked at (needs CAP_SYS_PTRACE)", r.Hidden)
	}
	line("netns", "%s", text)
	for _, ns := range r.Largest {
		line("", "%s (netns %d): %d entries", ns.Name, ns.Inode, ns.Entries)
	}
}
