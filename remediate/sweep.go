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

// longestWalk bounds one act on entries: about a million are looked at in that
// time, and then the daemon looks again, whose loop waits for the act.
// longestRun ends one that hangs.
const (
	longestWalk = 2 * time.Second
	longestRun  = 30 * time.Second
)

// Saw notes the timeouts that stand in a namespace (0 is ctwarden's own) now,
// or did some seconds ago: an act on entries reads them once more.
// Called with every observation it is what idle times are proven by; without
// it, or for as long as the idle time asked for after a start, entries count
// as SparedIdleUnknown and are spared.
func (k *Kernel) Saw(inode uint32, timeouts conntrack.Timeouts) {
	if inode == 0 {
		inode = k.options.Own.Inode()
	}
	k.watching.Lock()
	defer k.watching.Unlock()
	k.saw(inode, &timeouts)
}

func (k *Kernel) saw(inode uint32, timeouts *conntrack.Timeouts) *watch {
	w := k.watches[inode]
	if w == nil {
		w = &watch{}
		k.watches[inode] = w
	}
	now := k.options.Now()
	w.look(timeouts, now)
	// A namespace that is not looked at any more is forgotten.
	for other, w := range k.watches {
		if now.Sub(w.last) > lookApart {
			delete(k.watches, other)
		}
	}
	return w
}

// choice returns the rule for an act in a namespace, by the timeouts that
// stand there now and stood before.
func (k *Kernel) choice(ns *netns.NS, act *policy.Action) (*choice, error) {
	timeouts, err := k.timeouts(ns)
	if err != nil {
		return nil, err
	}
	k.watching.Lock()
	defer k.watching.Unlock()
	w := k.saw(ns.Inode(), &timeouts)
	return &choice{
		act: *act, protect: k.protect,
		idle: w.idleness(max(act.MinIdle, act.SynSentIdle)),
	}, nil
}

// timeouts reads those that this kernel has. A negative one is not known, as
// for the watcher: 0.
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
// what it chose on another.
//
// What is chosen was idle and unreplied when the kernel told it. It can be
// answered in the milliseconds until its deletion is read: the kernel compares
// a tuple and an id, and no status, so that such an entry is deleted although
// it was just answered. Small batches that are sent at once keep that time
// short; its connection is made anew by the next packet, as after an early
// drop.
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
	c, err := k.choice(ns, act)
	if err != nil {
		return err
	}
	if out.Before, err = k.read(ns, countName); err != nil {
		return err
	}
	out.After = out.Before
	defer k.Dumping()()
	ctx, cancel := context.WithTimeout(ctx, longestRun)
	defer cancel()
	swept, err := c.run(ctx, ns, features)
	k.proven(act.Type, swept.Proven)
	c.tell(out, &swept)
	after, readErr := k.read(ns, countName)
	if readErr == nil {
		out.After = after
	}
	if err = errors.Join(err, readErr); err != nil {
		return err
	}
	out.OK = true
	return nil
}

// proven keeps what an act found out of the kernel, for the acts after it.
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

// A choice says which entries an act may touch, and counts.
type choice struct {
	act     policy.Action
	protect conntrack.Protect
	idle    idleness
	told    policy.Entries
}

func (c *choice) run(ctx context.Context, ns *netns.NS, features ctnetlink.Features) (ctnetlink.Swept, error) {
	s := ctnetlink.Sweep{NS: ns, Limit: c.act.Cap, Query: ctnetlink.Query{Features: features, Box: longestWalk}}
	if c.act.Type == policy.DeleteEntries {
		s.Query.StatusMask = conntrack.StatusSeenReply
		return s.Delete(ctx, c.take)
	}
	return s.Age(ctx, func(e *conntrack.Entry) (uint32, bool) { return c.act.Remaining, c.take(e) })
}

// take decides about one entry.
func (c *choice) take(e *conntrack.Entry) bool {
	eligibility := c.eligibility(e)
	c.told.Eligibility[eligibility]++
	if eligibility != policy.Eligible {
		return false
	}
	if len(c.told.Samples) < samplesMost {
		c.told.Samples = append(c.told.Samples, policy.Sample{
			Proto: e.Proto, State: e.State, Src: e.Orig.Src, Dst: e.Orig.Dst,
			SrcPort: e.Orig.SrcPort, DstPort: e.Orig.DstPort, Zone: e.Zone, Left: e.Timeout,
		})
	}
	return true
}

func (c *choice) eligibility(e *conntrack.Entry) policy.Eligibility {
	if eligibility := c.class(e); eligibility != policy.Eligible {
		return eligibility
	}
	if eligibility := c.spared(e); eligibility != policy.Eligible {
		return eligibility
	}
	if c.act.Type == policy.AgeEntries && e.Timeout <= c.act.Remaining {
		return policy.SparedShort
	}
	return c.age(e)
}

// class says whether an entry is of the class of the act.
func (c *choice) class(e *conntrack.Entry) policy.Eligibility {
	tcp := e.Proto == protoTCP
	switch c.act.Class {
	case policy.Unreplied:
		switch {
		case e.Status&conntrack.StatusSeenReply != 0:
			return policy.SparedReplied
		case e.Status&conntrack.StatusAssured != 0:
			return policy.SparedAssured
		case tcp && (e.State == conntrack.StateEstablished || e.State == conntrack.StateCloseWait):
			return policy.SparedEstablished
		}
		return policy.Eligible
	case policy.Closing:
		switch e.State {
		case conntrack.StateFinWait, conntrack.StateLastAck, conntrack.StateTimeWait, conntrack.StateClose:
			if tcp {
				return policy.Eligible
			}
		}
	case policy.Established:
		if tcp && e.State == conntrack.StateEstablished {
			return policy.Eligible
		}
	}
	return policy.SparedWrongClass
}

// spared says what else keeps an entry from being touched.
func (c *choice) spared(e *conntrack.Entry) policy.Eligibility {
	switch {
	case e.Status&conntrack.StatusDying != 0:
		return policy.SparedDying
	case e.HasMaster || e.Status&conntrack.StatusExpected != 0:
		return policy.SparedExpected
	case e.HasHelper || e.Status&conntrack.StatusHelper != 0:
		return policy.SparedHelper
	case e.Status&conntrack.StatusFixedTimeout != 0:
		return policy.SparedFixedTimeout
	case e.Status&(conntrack.StatusOffload|conntrack.StatusHWOffload) != 0:
		return policy.SparedOffload
	case c.act.Type == policy.DeleteEntries && e.Status&conntrack.StatusDstNAT != 0:
		return policy.SparedDNAT
	case c.protect.Covers(e):
		return policy.SparedProtected
	}
	return policy.Eligible
}

// age says whether an entry has been idle for long enough.
func (c *choice) age(e *conntrack.Entry) policy.Eligibility {
	least := c.act.MinIdle
	if c.act.Class == policy.Unreplied && e.Proto == protoTCP && e.State == conntrack.StateSynSent {
		least = c.act.SynSentIdle
	}
	if least <= 0 {
		return policy.Eligible
	}
	switch idle, known := c.idle.atLeast(e); {
	case !known:
		return policy.SparedIdleUnknown
	case idle < least:
		return policy.SparedTooYoung
	}
	return policy.Eligible
}

// tell writes what was done into the outcome.
func (c *choice) tell(out *policy.Outcome, swept *ctnetlink.Swept) {
	out.Changed, out.Gone, out.Examined = swept.Done, swept.Gone, swept.Dump.Seen
	if c.act.Type == policy.DeleteEntries {
		// What the query kept from us had been replied to.
		c.told.Eligibility[policy.SparedReplied] += swept.Dump.Seen - swept.Dump.Unread - swept.Dump.Entries
	}
	c.told.Refused = swept.Refused + swept.Failed
	out.Entries = &c.told
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
