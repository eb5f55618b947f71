package incident

import (
	"cmp"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/policy"
)

// A knob is a kernel value by its namespace and name.
type knob struct {
	netns  uint32
	sysctl string
}

// knobs are the kernel values that were changed and not put back, with the
// incidents that changed them.
type knobs map[knob]*claim

type claim struct {
	Change
	incidents []*Incident
}

// wrote notes what an act left in the kernel. The incident may be nil.
func (k knobs) wrote(out *policy.Outcome, i *Incident, at time.Time) {
	name := out.Action.Sysctl()
	if name == "" || !out.OK || out.Action.Would || out.ChangedExternally {
		return
	}
	key := knob{out.Action.NetNS, name}
	c := k[key]
	if c == nil {
		c = &claim{Change: Change{NetNS: key.netns, Sysctl: name, Original: out.Before}}
		k[key] = c
	}
	c.Written, c.Time = out.After, at
	if c.Written == c.Original {
		delete(k, key)
		return
	}
	if i != nil && !slices.Contains(c.incidents, i) && len(c.incidents) < mostNames {
		c.incidents = append(c.incidents, i)
	}
}

// lost gives up the claim on a value that somebody else has written since.
func (k knobs) lost(netns uint32, ov *policy.Override) {
	name := ov.Sysctl()
	if ov.Type.HostWide() {
		netns = 0
	}
	delete(k, knob{netns, name})
}

// of returns the values that an incident changed, in the order of their names.
func (k knobs) of(i *Incident) []Change {
	var found []Change
	for _, c := range k {
		if slices.Contains(c.incidents, i) {
			found = append(found, c.Change)
		}
	}
	slices.SortFunc(found, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.NetNS, b.NetNS), cmp.Compare(a.Sysctl, b.Sysctl))
	})
	return found
}
