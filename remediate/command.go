package remediate

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/ui"
)

// RevertCommands returns the shell commands that do what Revert with force
// does, in its order, and executes none. A value that can't be restored, or that
// another program has changed, is a comment with the reason.
func (k *Kernel) RevertCommands() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var commands []string
	for _, e := range k.ledger.sorted() {
		if c := k.command(&e); c != "" {
			commands = append(commands, c)
		}
	}
	return commands
}

// RevertCommands reads the ledger of an instance that may be running, without
// its lock, and changes nothing.
func RevertCommands(o Options) (_ []string, err error) {
	k := newKernel(o)
	defer func() { err = errors.Join(err, k.Close()) }()
	if err := k.loadReadOnly(); err != nil {
		return nil, err
	}
	return k.RevertCommands(), nil
}

// ReadLedger reads the ledger of an instance that may be running, without its
// lock, and changes nothing. It leaves out the rows of another boot.
func ReadLedger(o Options) (_ Ledger, err error) {
	k := newKernel(o)
	defer func() { err = errors.Join(err, k.Close()) }()
	if err := k.loadReadOnly(); err != nil {
		return Ledger{}, err
	}
	l := k.Ledger()
	l.Entries = slices.DeleteFunc(l.Entries, func(e Row) bool { return e.Boot != k.boot })
	return l, nil
}

// loadReadOnly reads the ledger without the lock.
func (k *Kernel) loadReadOnly() error {
	if err := k.see(); err != nil {
		return err
	}
	if _, err := os.Stat(k.options.Dir); errors.Is(err, os.ErrNotExist) {
		return nil // never installed: nothing was changed
	}
	l, err := k.store.read()
	if err != nil {
		return err
	}
	k.ledger = l
	return nil
}

func (k *Kernel) command(e *Row) string {
	note := k.compare(e)
	set := fmt.Sprintf("sysctl -w net.netfilter.%s=%d", e.Sysctl, e.Original)
	switch note.Kind {
	case record.NoteReturned, record.NoteRebooted, record.NoteNamespaceGone, record.NoteModuleGone:
		return ""
	case record.NoteForeign, record.NoteUnknown:
		return comment(note.Sentence()) + ": " + set
	}
	if e.NetNS == 0 || k.shown(e.NetNS) == 0 {
		return set
	}
	ns, err := k.find(e.NetNS)
	if err != nil {
		return comment(err.Error()) + ": " + set
	}
	// The link of a process' own threads means another process to the shell.
	path := strings.Replace(ns.File().Name(), "/proc/self/", "/proc/"+strconv.Itoa(os.Getpid())+"/", 1)
	return "nsenter --net=" + ui.Quote(path) + " " + set
}

// comment makes text a comment of the shell that no newline in it can end.
func comment(text string) string { return "# " + conntrack.Printable(text, 1000) }
