package incident

import (
	"cmp"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/policy"
)

// A sysctlKey is a kernel value by its namespace and name.
type sysctlKey struct {
	netns  uint32
	sysctl string
}

// openChanges are the kernel values that were changed and not put back, with the
// incidents that changed them.
type openChanges map[sysctlKey]*openChange

type openChange struct {
	KernelChange
	incidents []*Incident
}

// addOutcome notes what an act left in the kernel. The incident may be nil.
func (k openChanges) addOutcome(out *policy.Outcome, i *Incident, at time.Time) {
	name := out.Action.Sysctl()
	if name == "" || !out.OK || out.Action.Would || out.ChangedExternally {
		return
	}
	key := sysctlKey{out.Action.NetNS, name}
	c := k[key]
	if c == nil {
		c = &openChange{KernelChange: KernelChange{NetNS: key.netns, Sysctl: name, Original: out.Before}}
		k[key] = c
	}
	c.Written, c.Time = out.After, at
	if c.Written == c.Original {
		delete(k, key)
		return
	}
	if i != nil && !slices.Contains(c.incidents, i) && len(c.incidents) < maxNames {
		c.incidents = append(c.incidents, i)
	}
}

// release gives up the claim on a value that another program has written since.
func (k openChanges) release(netns uint32, ov *policy.Override) {
	name := ov.Sysctl()
	if ov.Type.HostWide() {
		netns = 0
	}
	delete(k, sysctlKey{netns, name})
}

// of returns the values that an incident changed, in the order of their names.
func (k openChanges) of(i *Incident) []KernelChange {
	var found []KernelChange
	for _, c := range k {
		if slices.Contains(c.incidents, i) {
			found = append(found, c.KernelChange)
		}
	}
	slices.SortFunc(found, func(a, b KernelChange) int {
		return cmp.Or(cmp.Compare(a.NetNS, b.NetNS), cmp.Compare(a.Sysctl, b.Sysctl))
	})
	return found
}
