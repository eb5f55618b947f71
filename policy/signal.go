package policy

// A Signal is the kernel's log message of a full table: one line, or
// several about the same namespace that came before the loop took the first.
type Signal struct {
	// NetNS is the inode number of the namespace, if Named; 0 with Named is
	// one of several, more than are kept apart. Without Named the kernel gave
	// no number: before Linux 6.17 it never does, later only for the initial
	// namespace.
	NetNS uint32 `json:"netns,omitempty"`
	Named bool   `json:"named,omitempty"`
	// Count is the number of lines, at least 1.
	Count uint64 `json:"count"`
	// Source is kmsg or journald.
	Source string `json:"source"`
	// Lost is the number of log records that were overwritten unread since the
	// signal before.
	Lost uint64 `json:"lost,omitempty"`
}
