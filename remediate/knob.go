package remediate

import (
	"errors"
	"fmt"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// read reads a sysctl in its namespace.
func (k *Kernel) read(ns *netns.NS, name string) (v uint64, err error) {
	err = ns.Do(func() error {
		v, err = k.sysctls.read(name)
		return err
	})
	return v, err
}

// write writes a sysctl in its namespace: /proc/sys/net is that of the
// calling thread. Our own dumps must not overlap a resize.
func (k *Kernel) write(ns *netns.NS, name string, v uint64) error {
	if name == conntrack.SysctlBuckets {
		k.table.Lock()
		defer k.table.Unlock()
	}
	return ns.Do(func() error { return k.sysctls.write(name, v) })
}

// save makes l the ledger, on the disk first.
func (k *Kernel) save(l Ledger) error {
	if err := k.store.save(l); err != nil {
		return err
	}
	k.ledger = l
	return nil
}

// set is one compare-and-set, with the ledger written before and after.
func (k *Kernel) set(ns *netns.NS, incident string, out *policy.Outcome) error {
	act := &out.Action
	name := act.Sysctl()
	before, err := k.read(ns, name)
	if err != nil {
		return err
	}
	out.Before, out.After = before, before
	if before != act.From {
		out.ChangedExternally = true
		return k.yield(name, netnsOf(name, ns), before)
	}
	earlier := k.ledger
	intended := k.intend(name, netnsOf(name, ns), incident, out)
	if err := k.save(intended); err != nil {
		return err
	}
	if err := k.write(ns, name, act.To); err != nil {
		return k.failed(ns, name, out, earlier, err)
	}
	return k.settle(ns, name, out, earlier)
}

// intend returns the ledger as it must be on the disk before the write to the
// kernel. It is correct whether the write then happens or not.
func (k *Kernel) intend(name string, netns uint32, incident string, out *policy.Outcome) Ledger {
	now := k.options.Now()
	ledger := k.ledger
	e, known := ledger.find(name, netns)
	if known && e.Boot != k.boot {
		ledger = ledger.released(e, record.NoteRebooted, out.Before)
		known = false
	}
	if known && !e.owns(out.Before) && out.Before != e.Original {
		// Another program's value is the new original.
		ledger = ledger.released(e, record.NoteForeign, out.Before)
		known = false
	}
	if !known {
		e = Row{
			Sysctl: name, NetNS: netns, Original: out.Before, Since: now, Leased: !hostWide(name), Boot: k.boot,
			Ephemeral: netns != 0 && netns == k.options.Ephemeral,
		}
	}
	e.Before, e.Written, e.ReadBack = out.Before, out.Action.To, 0
	e.Reason, e.Incident, e.At = out.Action.Reason, incident, now
	return ledger.with(e)
}

// failed reads the sysctl after a failed write. If its value is the old one,
// failed restores the earlier ledger.
func (k *Kernel) failed(ns *netns.NS, name string, out *policy.Outcome, earlier Ledger, err error) error {
	after, readErr := k.read(ns, name)
	if readErr != nil {
		return err // the intent stands: it covers both
	}
	out.After = after
	if after != out.Before {
		return err
	}
	return errors.Join(err, k.save(earlier))
}

// settle reads the sysctl back and records the value in the ledger.
func (k *Kernel) settle(ns *netns.NS, name string, out *policy.Outcome, earlier Ledger) error {
	after, err := k.read(ns, name)
	if err != nil {
		return err // the intent stands
	}
	out.After = after
	e, _ := k.ledger.find(name, netnsOf(name, ns))
	if !reached(name, out.Action.To, after) {
		err := fmt.Errorf("%s: wrote %d, read %d: %w", name, out.Action.To, after, ErrReadBack)
		if after == out.Before {
			return errors.Join(err, k.save(earlier))
		}
		return errors.Join(err, k.save(k.ledger.released(e, record.NoteForeign, after)))
	}
	e.ReadBack = after
	settled := k.ledger.with(e)
	if after == e.Original {
		settled = k.ledger.without(e.Sysctl, e.NetNS)
	}
	out.OK = true
	if err := k.save(settled); err != nil {
		// The intent on the disk covers it.
		out.Note = "the ledger does not show the value that was read back: " + err.Error()
	}
	return nil
}

// yield ends the claim on a sysctl whose value is found, if that is neither
// ctwarden's nor the original.
func (k *Kernel) yield(name string, netns uint32, found uint64) error {
	e, known := k.ledger.find(name, netns)
	switch {
	case !known || e.Boot == k.boot && e.owns(found):
		return nil
	case e.Boot == k.boot && found == e.Original:
		return k.save(k.ledger.without(name, netns))
	}
	return k.save(k.ledger.released(e, record.NoteForeign, found))
}

// Yield ends the claim on a value that the policy found overridden in a
// namespace: no revert restores it, even if the sysctl has ctwarden's value
// again.
func (k *Kernel) Yield(inode uint32, ov policy.Override) error {
	name := ov.Sysctl()
	netns := k.options.Own.Inode()
	if inode != 0 {
		netns = inode
	}
	if hostWide(name) {
		netns = 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	e, known := k.ledger.find(name, netns)
	if !known || e.Boot == k.boot && e.owns(ov.Found) {
		return nil
	}
	return k.save(k.ledger.released(e, record.NoteForeign, ov.Found))
}
