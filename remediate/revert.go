package remediate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// maxHeldFrom is the share of the original max from which Revert does not
// restore it: the table would be full at once.
const maxHeldFrom = conntrack.Permyriad(9000)

// Revert restores every value in the ledger: timeouts first, then max, then the
// hash. Each is a compare-and-set: Revert leaves a value that another program
// changed, and its outcome is ChangedExternally. A value that has its original
// already is OK.
//
// Without force, Revert does not restore max while any table holds 90 % of its
// original, nor the hash while the predicted stall of tracked packets is above
// the limit: the outcome's Error is ErrHeldBack, and the ledger keeps them. The
// error is that of the context; every other error is in the outcomes.
func (k *Kernel) Revert(ctx context.Context, force bool) ([]policy.Outcome, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var outcomes []policy.Outcome
	for _, e := range k.ledger.sorted() {
		if err := ctx.Err(); err != nil {
			return outcomes, fmt.Errorf("revert: %w", err)
		}
		if out, about := k.revert(e, force); about {
			outcomes = append(outcomes, out)
		}
	}
	return outcomes, nil
}

// revert restores one value. About is false when the value is gone with its
// boot, namespace or module.
func (k *Kernel) revert(e Row, force bool) (out policy.Outcome, about bool) {
	start := k.options.Now()
	note := k.compare(&e)
	out.Action = e.restore(note.NetNS, note.Found)
	out.Before, out.After = note.Found, note.Found
	about = true
	var err error
	switch note.Kind {
	case record.NoteKept:
		err = k.putBack(&e, &out, force)
	case record.NoteReturned:
		out.OK = true
		out.Note = "it was back already"
		err = k.save(k.ledger.without(e.Sysctl, e.NetNS))
	case record.NoteForeign:
		out.ChangedExternally = true
		err = k.save(k.ledger.released(e, record.NoteForeign, note.Found))
	case record.NoteUnknown:
		err = errors.New(note.Error)
	default:
		err = k.save(k.ledger.released(e, note.Kind, note.Found))
		about = err != nil
	}
	if err != nil {
		out.OK, out.Error = false, err.Error()
	}
	out.Took = k.options.Now().Sub(start)
	return out, about
}

// putBack writes the original. It need not write the ledger before: the row is
// correct for the value before and after.
func (k *Kernel) putBack(e *Row, out *policy.Outcome, force bool) error {
	ns, err := k.find(e.NetNS)
	if err != nil {
		return err
	}
	if err := k.mayReturn(ns, e, out, force); err != nil {
		return err
	}
	if err := k.write(ns, e.Sysctl, e.Original); err != nil {
		return err
	}
	after, err := k.read(ns, e.Sysctl)
	if err != nil {
		return err
	}
	out.After = after
	if after != e.Original {
		return fmt.Errorf("%s: wrote %d, read %d: %w", e.Sysctl, e.Original, after, ErrReadBack)
	}
	out.OK = true
	if err := k.save(k.ledger.without(e.Sysctl, e.NetNS)); err != nil {
		out.Note = "the ledger still has it: " + err.Error()
	}
	return nil
}

// ErrHeldBack reports that a revert without force left a value as it is.
var ErrHeldBack = errors.New("held back")

// mayReturn refuses a return that would make connections fail or packets stall.
func (k *Kernel) mayReturn(ns *netns.NS, e *Row, out *policy.Outcome, force bool) error {
	if !hostWide(e.Sysctl) {
		return nil
	}
	count, err := k.read(ns, conntrack.SysctlCount)
	if err != nil && !force {
		return err
	}
	var others Others
	if k.options.Others != nil {
		if others, err = k.options.Others(); err != nil && !force {
			return fmt.Errorf("count the entries of other namespaces: %w", err)
		}
	}
	if e.Sysctl == conntrack.SysctlBuckets {
		return k.mayResize(float64(count)+float64(others.All), out, force)
	}
	return mayLower(max(count, others.Fullest), e.Original, out, force)
}

// mayLower requires room in the fullest table: max limits each table by itself.
func mayLower(count, original uint64, out *policy.Outcome, force bool) error {
	full := conntrack.Table{Entries: count, Max: original}.Fullness()
	if original > out.Before || full < maxHeldFrom {
		return nil
	}
	if !force {
		return fmt.Errorf("%w: a table of %d entries is at %s of the original max %d, so that new connections would soon fail; "+
			"force it, or wait", ErrHeldBack, count, policy.Percent(full), original)
	}
	if count >= original {
		out.Note = fmt.Sprintf("a table of %d entries is at or above max: new connections fail until some expire", count)
	}
	return nil
}

// mayResize predicts the stall: the kernel moves every entry of every namespace.
func (k *Kernel) mayResize(entries float64, out *policy.Outcome, force bool) error {
	h := &k.options.Hash
	stall := time.Duration(min(entries*float64(h.StallPerEntry), float64(time.Hour)))
	if stall <= h.MaxStall {
		return nil
	}
	if !force {
		return fmt.Errorf("%w: moving %.0f entries would stall tracked packets for some %s, at most %s are permitted; "+
			"force it, or wait", ErrHeldBack, entries, stall.Round(time.Millisecond), h.MaxStall)
	}
	out.Note = fmt.Sprintf("tracked packets stalled for some %s, as predicted", stall.Round(time.Millisecond))
	return nil
}
