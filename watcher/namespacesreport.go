package watcher

import (
	"cmp"
	"slices"
)

// A NamespacesReport sums up the other namespaces. Its JSON is a contract.
type NamespacesReport struct {
	// Namespaces is the number of others, Watched of those that have a table
	// in this status, Unread of those that could not be read, and Hidden of
	// the processes whose namespace is not known.
	Namespaces int    `json:"namespaces"`
	Watched    int    `json:"watched"`
	Unread     int    `json:"unread,omitempty"`
	Hidden     int    `json:"hidden_processes,omitempty"`
	Entries    uint64 `json:"entries"`
	// Most is the number of entries of the fullest one.
	Most    uint64 `json:"most"`
	SweepNS int64  `json:"sweep_ns"`
	// Largest are those with the most entries.
	Largest []NamedNamespace `json:"largest,omitempty"`
}

// A NamedNamespace is a namespace and its name.
type NamedNamespace struct {
	Name string `json:"name"`
	Namespace
}

const largestShown = 5

// Report sums up the other namespaces.
func (n *Namespaces) Report() *NamespacesReport {
	n.mu.Lock()
	r := &NamespacesReport{
		Namespaces: n.sweep.Namespaces, Watched: len(n.watched), Unread: n.sweep.Unread, Hidden: n.sweep.Hidden,
		Entries: n.sweep.Entries, SweepNS: n.sweep.Took.Nanoseconds(),
	}
	n.mu.Unlock()
	all := n.known.All()
	slices.SortStableFunc(all, func(a, b Namespace) int { return cmp.Compare(b.Entries, a.Entries) })
	for _, ns := range all[:min(largestShown, len(all))] {
		if ns.Entries > 0 {
			r.Largest = append(r.Largest, NamedNamespace{ns.Name(), ns})
			r.Most = max(r.Most, ns.Entries)
		}
	}
	return r
}
