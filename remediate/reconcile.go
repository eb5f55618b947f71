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

// Claims are what ctwarden still holds after a start: the values in the
// kernel that it wrote. The zero Claims hold nothing.
type Claims struct {
	Max, Buckets policy.Knob
	// Timeouts by namespace; 0 is ctwarden's own.
	Timeouts map[uint32]policy.Knobs
	// Notes are what a person should be told.
	Notes []record.Note
}

// Seed puts the claims into the state of a namespace's table. What the state
// remembers of yielding stays. A value that somebody else changed while
// ctwarden was down is put there as it was written: the policy then finds the
// other value, tells it and yields, as if it had seen the change.
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

// knobOf is where the state of a namespace's table has the value of the note;
// nil if it is that of another namespace.
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

// Reconcile compares the ledger with the kernel, after a start: what ctwarden
// wrote is still its, an original ends the claim quietly, anything else
// belongs to somebody else. Another boot, or the end of a namespace or of the
// module, ends the claims on their values. It writes the ledger only.
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
			// An interrupted write is settled by what stands there.
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

// compare says what became of a row.
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

// hasSysctls tells a module that is gone from a sandbox that hides /proc/sys.
func (k *Kernel) hasSysctls() bool {
	_, err := os.Stat(filepath.Join(k.options.Proc, "sys/net"))
	return err == nil
}
