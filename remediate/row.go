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
	// Original is what stood there before ctwarden's first write.
	Original uint64 `json:"original"`
	// Before is what stood there before the last write: Original, or what
	// ctwarden had written earlier. With ReadBack 0 the last write may not
	// have happened, and Before still stand.
	Before uint64 `json:"before"`
	// Written is what the last write asked for, ReadBack what the kernel made
	// of it; 0 when that is not known.
	Written  uint64 `json:"written"`
	ReadBack uint64 `json:"read_back,omitempty"`
	// Reason and Incident say what the last write was for.
	Reason   policy.Reason `json:"reason"`
	Incident string        `json:"incident,omitempty"`
	// Since is the time of the first write, At that of the last.
	Since time.Time `json:"since"`
	At    time.Time `json:"at"`
	// Leased values are given back after enough calm; the others stay until
	// somebody asks for a revert.
	Leased bool `json:"leased,omitempty"`
	// Boot is the boot in which all this happened.
	Boot string `json:"boot_id"`
	// Ephemeral says that nobody but the process that wrote it held the
	// namespace. That process held the ledger's lock, too, so for whoever
	// reads the row later both are gone.
	Ephemeral bool `json:"fleeting,omitempty"`
}

// owns reports whether v is ctwarden's: what it read back or, if it was
// interrupted before it could, what it wrote, or had written before that.
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

// timeout is the timeout that the row is about; NoTimeout for max and
// buckets.
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

// restore is the action that puts the value back.
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
	// Why says what ended the claim, Found what stood there then.
	Why   record.NoteKind `json:"why"`
	Found uint64          `json:"found,omitempty"`
}
