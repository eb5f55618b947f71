package remediate

import (
	"fmt"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// A Row of the ledger is one kernel value that ctwarden replaced.
type Row struct {
	// Sysctl is its name under net.netfilter, NetNS the inode number of its
	// namespace; 0 for the host-wide ones, max and buckets.
	Sysctl string `json:"sysctl"`
	NetNS  uint32 `json:"netns,omitempty"`
	// Original is the value before ctwarden's first write.
	Original uint64 `json:"original"`
	// Before is the value before the last write: Original, or an earlier
	// value of ctwarden. With ReadBack 0 the last write may not have
	// happened, and the kernel may still have Before.
	Before uint64 `json:"before"`
	// Written is the value of the last write, ReadBack the value that the
	// kernel made of it; 0 when that is not known.
	Written  uint64 `json:"written"`
	ReadBack uint64 `json:"read_back,omitempty"`
	// Reason and Incident are those of the last write.
	Reason   policy.Reason `json:"reason"`
	Incident string        `json:"incident,omitempty"`
	// Since is the time of the first write, At that of the last.
	Since time.Time `json:"since"`
	At    time.Time `json:"at"`
	// Leased values are restored after enough calm; the others stay until a
	// user reverts them.
	Leased bool `json:"leased,omitempty"`
	// Boot is the boot of all these writes.
	Boot string `json:"boot_id"`
	// Ephemeral is set if only the process that wrote the row held the
	// namespace. That process held the ledger's lock, too, so both are gone
	// when another process reads the row.
	Ephemeral bool `json:"fleeting,omitempty"`
}

// owns reports whether v is ctwarden's: the value that it read back or, if it
// was interrupted before, its last value or the one before that.
func (e *Row) owns(v uint64) bool {
	switch {
	case v == e.Original:
		return false
	case e.ReadBack != 0:
		return v == e.ReadBack
	}
	return v == e.Before || reached(e.Sysctl, e.Written, v)
}

// is reports whether the row is about a sysctl of a namespace.
func (e *Row) is(sysctl string, netns uint32) bool {
	return e.Sysctl == sysctl && e.NetNS == netns
}

// rank orders a revert: timeouts first, which only make entries live longer,
// then max, then the hash.
func (e *Row) rank() int {
	switch e.Sysctl {
	case conntrack.SysctlMax:
		return 1
	case conntrack.SysctlBuckets:
		return 2
	}
	return 0
}

// timeout is the timeout of the row; NoTimeout for max and buckets.
func (e *Row) timeout() conntrack.Timeout {
	t, err := conntrack.ParseTimeout(e.Sysctl)
	if err != nil {
		return conntrack.NoTimeout
	}
	return t
}

// check refuses a row that no version of this program writes, so that a
// revert never writes a name or a number that it should not.
func (e *Row) check() error {
	if !hostWide(e.Sysctl) && (e.timeout() == conntrack.NoTimeout || !strings.HasPrefix(e.Sysctl, "nf_conntrack_")) {
		return fmt.Errorf("sysctl %q: %w", e.Sysctl, ErrInvalid)
	}
	if hostWide(e.Sysctl) != (e.NetNS == 0) {
		return fmt.Errorf("%s in netns %d: %w", e.Sysctl, e.NetNS, ErrInvalid)
	}
	for _, v := range [...]uint64{e.Original, e.Before, e.Written, max(e.ReadBack, 1)} {
		if err := checkValue(e.Sysctl, v); err != nil {
			return err
		}
	}
	return nil
}

// restore is the action that restores the value.
func (e *Row) restore(netns uint32, from uint64) policy.Action {
	act := policy.Action{NetNS: netns, From: from, To: e.Original, Reason: policy.ReasonRequested}
	switch e.Sysctl {
	case conntrack.SysctlMax:
		act.Type = policy.RestoreMax
	case conntrack.SysctlBuckets:
		act.Type = policy.ResizeHash
	default:
		act.Type, act.Knob = policy.RestoreTimeout, e.timeout()
	}
	return act
}

// A Released row is one that ctwarden has no claim on any more.
type Released struct {
	Row
	// Why is the end of the claim, Found the value in the kernel then.
	Why   record.NoteKind `json:"why"`
	Found uint64          `json:"found,omitempty"`
}
