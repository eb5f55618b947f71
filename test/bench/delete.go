package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
)

// A sweepResult is what the child that deletes tells.
type sweepResult struct {
	Took                     time.Duration
	Done, Gone, Failed, Seen uint64
}

// sweep deletes the idle unreplied entries of its own namespace as the daemon
// does: it chooses by the same rule, and by no cap.
func sweep(ctx context.Context) error {
	ns, err := netns.Current()
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }() // the program ends here
	features, err := ctnetlink.Probe(ctx, ns)
	if err != nil {
		return err
	}
	seconds, err := readNumber("/proc/sys/net/netfilter/" + conntrack.UDP.Sysctl())
	if err != nil {
		return err
	}
	timeouts := conntrack.DefaultTimeouts()
	timeouts[conntrack.UDP] = uint32(seconds)
	limits := policy.Defaults()
	rule, _ := limits.Rules(timeouts, conntrack.Protect{})
	start := time.Now()
	swept, err := ctnetlink.Sweep{
		NS: ns, Limit: 1 << 32, Query: ctnetlink.Query{Features: features, StatusMask: conntrack.StatusSeenReply},
	}.Delete(ctx, func(e *conntrack.Entry) bool { return rule.Judge(e) == policy.Eligible })
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(sweepResult{
		Took: time.Since(start), Done: swept.Done, Gone: swept.Gone, Failed: swept.Failed, Seen: swept.Dump.Seen,
	})
}

// runSweep runs the child. Its time is that of the act: the daemon has probed
// the kernel when it started.
func runSweep(ctx context.Context, ns *netns.NS) (cost, error) {
	self, err := os.Executable()
	if err != nil {
		return cost{}, err
	}
	c, err := measure(ctx, ns, true, self, sweepCommand)
	if err != nil {
		return c, err
	}
	var r sweepResult
	if c.failed == "" {
		if err := json.Unmarshal(c.stdout, &r); err != nil {
			return c, err
		}
		c.wall = r.Took
	}
	return c, nil
}

// peerDeletes deletes the same entries with conntrack: here all that go to one
// address. Its own word for them, "-u UNREPLIED", deletes the replied ones,
// too (1.4.7).
func peerDeletes(ctx context.Context, ns *netns.NS) (cost, error) {
	return measure(ctx, ns, false, "conntrack", "-D", "-p", "udp", "-d", cttest.Unreplied().Orig.Dst.String())
}

// deletion compares deleting what is idle and unreplied, one by one, with
// conntrack and with the kernel's own floor.
func (p *plan) deletion(ctx context.Context) error {
	fmt.Printf("\ndelete     of %d unreplied among %d entries\n", p.entries-p.entries/keepEvery, p.entries)
	own, peer, floor := &series{name: "ctwarden, chosen one by one"}, &series{name: "conntrack -D -p udp -d 192.0.2.1"}, &series{name: "one-message flush (the floor)"}
	for i := range p.pairs {
		err := alternate(i, func() error {
			return p.measureDeletion(ctx, own, runSweep)
		}, func() error {
			return p.measureDeletion(ctx, peer, peerDeletes)
		})
		if err == nil {
			err = p.measureDeletion(ctx, floor, flushUnreplied)
		}
		if errors.Is(err, errors.ErrUnsupported) {
			fmt.Println("  the floor is not measured:", err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	own.print("")
	peer.print("")
	floor.print("")
	ratios(own, peer, "  (bound 0.40)")
	ratios(own, floor, "")
	return nil
}

// measureDeletion runs a deletion in a table of its own and counts what it left.
func (p *plan) measureDeletion(ctx context.Context, s *series, run func(context.Context, *netns.NS) (cost, error)) (err error) {
	table, err := newTable()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	if err := fillIdle(table.NS, p.entries); err != nil {
		return err
	}
	c, err := run(ctx, table.NS)
	if err != nil {
		return err
	}
	left, err := count(table.NS)
	if err != nil {
		return err
	}
	if want := (p.entries + keepEvery - 1) / keepEvery; left != want {
		c.failed += fmt.Sprintf(" %d entries are left, not %d", left, want)
	}
	s.add(c)
	return nil
}

// flushUnreplied empties the namespace of what was not answered with one
// message. A kernel that does not know the filter would empty it of
// everything: it is asked first, and this is the only place where a flush is
// sent.
func flushUnreplied(ctx context.Context, ns *netns.NS) (c cost, err error) {
	own, err := netns.Current()
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	features, err := ctnetlink.Probe(ctx, ns)
	switch {
	case err != nil:
		return c, err
	case ns.Inode() == own.Inode():
		return c, errors.New("a flush is only ever sent in a namespace of our own")
	case features.StatusFilter != ctnetlink.Yes:
		return c, fmt.Errorf("this kernel ignores the filter of a flush: %w", errors.ErrUnsupported)
	}
	var conn *netlink.Conn
	if err := ns.Do(func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	}); err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		return c, err
	}
	start := time.Now()
	_, err = conn.Execute(netlink.Message{
		// IPCTNL_MSG_CT_DELETE, nfgenmsg, CTA_STATUS 0, CTA_STATUS_MASK SEEN_REPLY
		Header: netlink.Header{Type: 0x0102, Flags: netlink.Request | netlink.Acknowledge},
		Data:   []byte{0, 0, 0, 0, 8, 0, 3, 0, 0, 0, 0, 0, 8, 0, 26, 0, 0, 0, 0, 2},
	})
	c.wall = time.Since(start)
	if e := unix.Getrusage(unix.RUSAGE_SELF, &after); err == nil {
		err = e
	}
	c.cpu = time.Duration(after.Stime.Nano() - before.Stime.Nano() + after.Utime.Nano() - before.Utime.Nano())
	return c, err
}
