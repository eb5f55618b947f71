package remediate

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// Claims are the values in the kernel that ctwarden wrote before a start. The
// zero Claims hold none.
type Claims struct {
	Max, Buckets policy.Knob
	// Timeouts by namespace; 0 is ctwarden's own.
	Timeouts map[uint32]policy.Knobs
	// Notes are the findings about the ledger.
	Notes []record.Note
}

// Seed puts the claims into the state of a namespace's table. The state keeps
// what it remembers of yielding. For a value that another program changed while
// ctwarden was down, Seed puts the value that ctwarden wrote: the policy then
// finds the other value, reports it and yields, as after a change at run time.
func (c *Claims) Seed(s *policy.State, netns uint32) {
	claim(&s.Max, c.Max)
	claim(&s.Buckets, c.Buckets)
	timeouts := c.Timeouts[netns]
	for t := conntrack.TCPSynSent; t < conntrack.NumTimeouts; t++ {
		claim(&s.Timeouts[t], timeouts[t])
	}
	for i := range c.Notes {
		n := &c.Notes[i]
		if n.Kind != record.NoteForeign {
			continue
		}
		if k := knobOf(n, s, netns); k != nil {
			claim(k, policy.Knob{Original: n.Original, Written: n.Written})
		}
	}
}

// knobOf returns the knob of the note's value in the state of a namespace's
// table; nil if the note is of another namespace.
func knobOf(n *record.Note, s *policy.State, netns uint32) *policy.Knob {
	switch n.Sysctl {
	case conntrack.SysctlMax:
		return &s.Max
	case conntrack.SysctlBuckets:
		return &s.Buckets
	}
	t, err := conntrack.ParseTimeout(n.Sysctl)
	if err != nil || n.NetNS != netns {
		return nil
	}
	return &s.Timeouts[t]
}

func claim(k *policy.Knob, by policy.Knob) { k.Original, k.Written = by.Original, by.Written }

// Reconcile compares the ledger with the kernel, after a start. ctwarden keeps
// the claim on a value that it wrote; the original value ends the claim, and any
// other value is another program's. Another boot, or the end of a namespace or
// of the module, ends the claims on their values. It writes the ledger only.
func (k *Kernel) Reconcile(ctx context.Context) (Claims, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := Claims{Timeouts: map[uint32]policy.Knobs{}, Notes: k.notes}
	k.notes = nil
	ledger := k.ledger
	for _, e := range k.ledger.sorted() {
		if err := ctx.Err(); err != nil {
			return Claims{}, err
		}
		note := k.compare(&e)
		c.Notes = append(c.Notes, note)
		switch note.Kind {
		case record.NoteKept:
			// The value in the kernel settles an interrupted write.
			e.Written, e.ReadBack = note.Found, note.Found
			ledger = ledger.with(e)
			c.add(&e, note.NetNS)
		case record.NoteReturned:
			ledger = ledger.without(e.Sysctl, e.NetNS)
		case record.NoteUnknown:
		default:
			ledger = ledger.released(e, note.Kind, note.Found)
		}
	}
	if len(k.ledger.Entries) == 0 {
		return c, nil
	}
	if err := k.save(ledger); err != nil {
		return c, err
	}
	return c, nil
}

func (c *Claims) add(e *Row, netns uint32) {
	knob := policy.Knob{Original: e.Original, Written: e.ReadBack}
	switch e.Sysctl {
	case conntrack.SysctlMax:
		c.Max = knob
	case conntrack.SysctlBuckets:
		c.Buckets = knob
	default:
		knobs := c.Timeouts[netns]
		knobs[e.timeout()] = knob
		c.Timeouts[netns] = knobs
	}
}

// compare returns the result of comparing a row with the kernel.
func (k *Kernel) compare(e *Row) record.Note {
	n := record.Note{Sysctl: e.Sysctl, NetNS: k.shown(e.NetNS), Original: e.Original, Written: e.Written}
	if e.Boot != k.boot {
		n.Kind = record.NoteRebooted
		return n
	}
	if e.Ephemeral && e.NetNS != k.options.Ephemeral {
		n.Kind = record.NoteNamespaceGone
		return n
	}
	ns, err := k.find(e.NetNS)
	if err != nil {
		n.Kind, n.Error = record.NoteUnknown, err.Error()
		if errors.Is(err, os.ErrNotExist) {
			n.Kind, n.Error = record.NoteNamespaceGone, ""
		}
		return n
	}
	n.Found, err = k.read(ns, e.Sysctl)
	switch {
	case errors.Is(err, ErrNoConntrack) && k.hasSysctls():
		n.Kind = record.NoteModuleGone
	case err != nil:
		n.Kind, n.Error = record.NoteUnknown, err.Error()
	case n.Found == e.Original:
		n.Kind = record.NoteReturned
	case e.owns(n.Found):
		n.Kind = record.NoteKept
	default:
		n.Kind = record.NoteForeign
	}
	return n
}

// hasSysctls reports whether /proc/sys is there: a sandbox may hide it, which
// must not count as an unloaded module.
func (k *Kernel) hasSysctls() bool {
	_, err := os.Stat(filepath.Join(k.options.Proc, "sys/net"))
	return err == nil
}
