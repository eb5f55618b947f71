package remediate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
)

// samplesMost is how many of the chosen entries an outcome shows.
const samplesMost = 8

// longestWalk bounds one act on entries, because the daemon's loop waits for the
// act: a walk reads about a million entries in that time. longestRun ends an act
// that hangs.
const (
	longestWalk = 2 * time.Second
	longestRun  = 30 * time.Second
)

// ObserveTimeouts records the present timeouts of a namespace (0 is ctwarden's
// own). They may be some seconds old: an act on entries reads them once more.
// Called with every observation, these records prove idle times. Without it, or
// until the required idle time has passed after a start, entries count as
// SparedIdleUnknown and are spared.
func (k *Kernel) ObserveTimeouts(inode uint32, timeouts conntrack.Timeouts) {
	if inode == 0 {
		inode = k.options.Own.Inode()
	}
	k.watching.Lock()
	defer k.watching.Unlock()
	k.observeTimeouts(inode, &timeouts)
}

func (k *Kernel) observeTimeouts(inode uint32, timeouts *conntrack.Timeouts) *watch {
	w := k.watches[inode]
	if w == nil {
		w = &watch{}
		k.watches[inode] = w
	}
	now := k.options.Now()
	w.look(timeouts, now)
	// Forget the namespaces that are not observed any more.
	for other, w := range k.watches {
		if now.Sub(w.last) > lookApart {
			delete(k.watches, other)
		}
	}
	return w
}

// selector returns the selector of an act in a namespace, by its present and
// earlier timeouts.
func (k *Kernel) selector(ns *netns.NS, act *policy.Action) (*selector, error) {
	timeouts, err := k.timeouts(ns)
	if err != nil {
		return nil, err
	}
	k.watching.Lock()
	defer k.watching.Unlock()
	w := k.observeTimeouts(ns.Inode(), &timeouts)
	return &selector{act: act, rule: act.Rule(k.protect, w.idleness(max(act.MinIdle, act.SynSentIdle)))}, nil
}

// timeouts reads the timeouts that this kernel has. A negative one is 0
// (unknown), as for the watcher.
func (k *Kernel) timeouts(ns *netns.NS) (timeouts conntrack.Timeouts, err error) {
	err = ns.Do(func() error {
		for t := conntrack.TCPSynSent; t < conntrack.NumTimeouts; t++ {
			v, err := k.sysctls.read(t.Sysctl())
			if errors.Is(err, os.ErrNotExist) && t != conntrack.UDP {
				continue // GRE's came with Linux 5.4
			}
			if errors.Is(err, ErrInvalid) {
				continue
			}
			if err != nil {
				return err
			}
			timeouts[t] = uint32(min(v, most(t.Sysctl())))
		}
		return nil
	})
	return timeouts, err
}

// sweep deletes or ages entries: it walks the table on one socket and changes
// the chosen entries on another.
//
// A chosen entry was idle and unreplied when the kernel dumped it. A reply may
// arrive in the milliseconds before the kernel reads the deletion, which
// compares the tuple and the id but no status: the kernel then deletes a replied
// entry. Small batches, sent at once, keep that time short. The next packet
// creates the entry again, as after an early drop.
func (k *Kernel) sweep(ctx context.Context, out *policy.Outcome) (err error) {
	act := &out.Action
	features := k.features()
	if err := checkSweep(act, &features); err != nil {
		return err
	}
	ns, err := k.find(act.NetNS)
	if err != nil {
		return err
	}
	c, err := k.selector(ns, act)
	if err != nil {
		return err
	}
	if out.Before, err = k.read(ns, conntrack.SysctlCount); err != nil {
		return err
	}
	out.After = out.Before
	defer k.Dumping()()
	ctx, cancel := context.WithTimeout(ctx, longestRun)
	defer cancel()
	swept, err := c.run(ctx, ns, features)
	k.proven(act.Type, swept.Proven)
	c.report(out, &swept)
	after, readErr := k.read(ns, conntrack.SysctlCount)
	if readErr == nil {
		out.After = after
	}
	if err = errors.Join(err, readErr); err != nil {
		return err
	}
	out.OK = true
	return nil
}

// proven stores the support that an act has proven, for the acts after it.
func (k *Kernel) proven(act policy.ActionType, known ctnetlink.Support) {
	if known == ctnetlink.Unknown {
		return
	}
	k.watching.Lock()
	defer k.watching.Unlock()
	if act == policy.DeleteEntries {
		k.options.Features.DeleteByID = known
	} else {
		k.options.Features.UpdateTimeout = known
	}
}

// checkSweep refuses an act whose bounds are missing.
func checkSweep(act *policy.Action, f *ctnetlink.Features) error {
	switch {
	case act.Cap == 0:
		return fmt.Errorf("%s without a cap: %w", act.Type, ErrInvalid)
	case act.Type == policy.DeleteEntries && act.Class != policy.Unreplied:
		return fmt.Errorf("delete %s entries: only unreplied ones may be: %w", act.Class, ErrInvalid)
	case act.Type == policy.DeleteEntries && (act.MinIdle <= 0 || act.SynSentIdle <= 0):
		return fmt.Errorf("delete entries without a least idle time: %w", ErrInvalid)
	case act.Type == policy.DeleteEntries && f.DeleteByID == ctnetlink.No:
		return fmt.Errorf("delete entries: this kernel does not compare their id: %w", errors.ErrUnsupported)
	case act.Type == policy.DeleteEntries:
		return nil
	case f.UpdateTimeout == ctnetlink.No:
		return fmt.Errorf("age entries: %w", errors.ErrUnsupported)
	case act.Class != policy.Closing && act.Class != policy.Established:
		return fmt.Errorf("age %s entries: only closing and established ones may be: %w", act.Class, ErrInvalid)
	case act.Class == policy.Established && act.MinIdle <= 0:
		return fmt.Errorf("age established entries without a least idle time: %w", ErrInvalid)
	case act.Remaining == 0:
		return fmt.Errorf("age entries to 0 s: %w", ErrInvalid)
	case max(act.MinIdle, act.SynSentIdle) > remembered:
		return fmt.Errorf("age entries idle for more than %s: %w", remembered, ErrInvalid)
	}
	return nil
}

// A selector selects the entries that an act may touch, and counts.
type selector struct {
	act     *policy.Action
	rule    *policy.Rule
	entries policy.Entries
}

func (s *selector) run(ctx context.Context, ns *netns.NS, features ctnetlink.Features) (ctnetlink.Swept, error) {
	sweep := ctnetlink.Sweep{NS: ns, Limit: s.act.Cap, Query: ctnetlink.Query{Features: features, Box: longestWalk}}
	if s.act.Type == policy.DeleteEntries {
		sweep.Query.StatusMask = conntrack.StatusSeenReply
		return sweep.Delete(ctx, s.match)
	}
	return sweep.Age(ctx, func(e *conntrack.Entry) (uint32, bool) { return s.act.Remaining, s.match(e) })
}

// match reports whether the act may touch the entry.
func (s *selector) match(e *conntrack.Entry) bool {
	eligibility := s.rule.Judge(e)
	s.entries.Eligibility[eligibility]++
	if eligibility != policy.Eligible {
		return false
	}
	if len(s.entries.Samples) < samplesMost {
		s.entries.Samples = append(s.entries.Samples, policy.Sample{
			Proto: e.Proto, State: e.State, Src: e.Orig.Src, Dst: e.Orig.Dst,
			SrcPort: e.Orig.SrcPort, DstPort: e.Orig.DstPort, Zone: e.Zone, Left: e.Timeout,
		})
	}
	return true
}

// report writes the counts of the sweep into the outcome.
func (s *selector) report(out *policy.Outcome, swept *ctnetlink.Swept) {
	out.Changed, out.Gone, out.Examined = swept.Done, swept.Gone, swept.Dump.Seen
	if s.act.Type == policy.DeleteEntries {
		// The kernel's filter left out the replied entries.
		s.entries.Eligibility[policy.SparedReplied] += swept.Dump.Seen - swept.Dump.Unread - swept.Dump.Entries
	}
	s.entries.Refused = swept.Refused + swept.Failed
	out.Entries = &s.entries
	var notes []string
	if swept.Failed > 0 {
		notes = append(notes, strconv.FormatUint(swept.Failed, 10)+" entries were refused by the kernel: "+swept.First.Error())
	}
	if swept.Dump.Unread > 0 {
		notes = append(notes, strconv.FormatUint(swept.Dump.Unread, 10)+" entries could not be read")
	}
	if swept.Dump.Stop == ctnetlink.ByTime {
		notes = append(notes, "stopped after "+longestWalk.String())
	}
	if swept.Limited {
		notes = append(notes, "stopped at the cap")
	}
	out.Note = strings.Join(notes, "; ")
}
