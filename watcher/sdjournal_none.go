//go:build !(linux && cgo && journald)

package watcher

// openJournal opens the journal through journalctl: libsystemd is not linked
// into this build.
func openJournal(cursor string) (Journal, error) { return startJournalctl(cursor) }

func haveLibsystemd() bool { return false }
