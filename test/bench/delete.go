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

// A sweepResult is the output of the child that deletes.
type sweepResult struct {
	Took                     time.Duration
	Done, Gone, Failed, Seen uint64
}

// sweep deletes the idle unreplied entries of its own namespace by the rule of
// the daemon, without a cap.
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

// runSweep runs the child. The time is that of the deletion alone: the daemon
// probes the kernel when it starts.
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
// address. The option "-u UNREPLIED" deletes the replied ones, too (1.4.7).
func peerDeletes(ctx context.Context, ns *netns.NS) (cost, error) {
	return measure(ctx, ns, false, "conntrack", "-D", "-p", "udp", "-d", cttest.Unreplied().Orig.Dst.String())
}

// deletion compares deleting idle unreplied entries one by one with conntrack
// and with a flush by one message, the fastest that the kernel can do.
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

// measureDeletion runs a deletion in a table of its own and counts the entries
// that are left.
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

// flushUnreplied deletes the unreplied entries of the namespace with one message.
// A kernel without the filter would delete all: the filter is probed first. This
// is the only place that sends a flush.
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
