package cli

import (
	"fmt"

	"github.com/ctwarden/ctwarden/watcher"
)

// printNamespaces prints the report of the other namespaces, if they are
// watched.
func printNamespaces(r *watcher.NamespacesReport, line func(string, string, ...any)) {
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
