package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/nfct"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	fromKernel = "kernel"
	fromText   = "text"
)

// A doctor looks at entries, wherever they come from, and remembers what a
// diagnosis needs.
type doctor struct {
	limits  policy.Limits
	protect nfct.Protect

	from string
	o    policy.Observation
	look seen

	census      *census.Census
	remove, age *remediate.Foresight
	// shorter are the timeouts that the limits permit to shorten, as far as
	// one act would; outlived counts the entries that would have ended by now
	// with them.
	shorter  nfct.Timeouts
	outlived [nfct.NumTimeouts]uint64
}

func newDoctor(cfg *config.Config) *doctor {
	return &doctor{limits: cfg.Limits, protect: cfg.Protect}
}

// begin makes ready to look at entries that live by the timeouts.
func (d *doctor) begin() {
	l := &d.limits
	d.census = census.New(census.Count{
		Timeouts: d.o.Timeouts,
		MinIdle:  l.Delete.MinIdle, SynSentIdle: l.Delete.SynSentIdle,
		Remaining: l.Shorten.Floors[nfct.TCPTimeWait],
	}, rand.Uint64())
	remove := policy.Action{
		Type: policy.DeleteEntries, Class: policy.Unreplied,
		MinIdle: l.Delete.MinIdle, SynSentIdle: l.Delete.SynSentIdle,
	}
	age := policy.Action{Type: policy.AgeEntries, Class: policy.Closing, Remaining: l.Shorten.Floors[nfct.TCPTimeWait]}
	d.remove = remediate.Foresee(remove, d.protect, d.o.Timeouts)
	d.age = remediate.Foresee(age, d.protect, d.o.Timeouts)
	for t := range d.shorter {
		floor, now := l.Shorten.Floors[t], d.o.Timeouts[t]
		if floor != 0 && now > floor && policy.Shortens(nfct.Timeout(t)) {
			d.shorter[t] = max(now/2, floor)
		}
	}
}

func (d *doctor) add(e *nfct.Entry) {
	d.census.Add(e)
	d.remove.Choose(e)
	d.age.Choose(e)
	t := e.LivesBy()
	if short, now := d.shorter[t], d.o.Timeouts[t]; short != 0 && e.Timeout <= now-short {
		d.outlived[t]++
	}
}

// readKernel looks into the table of a namespace; "" is our own.
func (d *doctor) readKernel(ctx context.Context, name string, exact bool) (err error) {
	ns, foreign, err := openNamespace(name)
	if err != nil {
		return err
	}
	look := newLookout(ns, foreign)
	defer func() { err = errors.Join(err, look.close(), ns.Close()) }()
	if d.o, err = look.observe(ctx); err != nil {
		return fmt.Errorf("look at table: %w", err)
	}
	d.from = fromKernel
	d.begin()
	if d.o.Absent {
		return hint(errors.New("there is no table: nf_conntrack is not loaded"),
			"modprobe nf_conntrack   # a firewall rule that looks at connections loads it, too")
	}
	conn, err := ctnetlink.Dial(ns)
	if err != nil {
		return explainDial(err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	query := ctnetlink.Query{Box: censusBox}
	if exact {
		query.Box = 0
	}
	start := time.Now()
	dumped, err := conn.Dump(ctx, query, func(e *nfct.Entry, _ *ctnetlink.Key) bool {
		d.add(e)
		return true
	})
	d.look = seen{Took: time.Since(start), Bytes: dumped.Bytes, Unread: dumped.Unread, Resized: dumped.Resized}
	d.census.Summary.Sampled = dumped.Stop != ctnetlink.Complete
	if err != nil {
		return fmt.Errorf("look into table: %w", err)
	}
	return nil
}

// openNamespace opens what a person named.
func openNamespace(name string) (ns *netns.NS, foreign bool, err error) {
	own, err := netns.Current()
	if err != nil || name == "" {
		return own, false, err
	}
	if ns, err = netns.Find(name); err != nil {
		err = errors.Join(err, own.Close())
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = hint(err, "ip netns list; lsns -t net")
		case errors.Is(err, fs.ErrPermission):
			err = hint(err, "sudo ctwarden diagnose --netns NAME   # takes CAP_SYS_ADMIN and CAP_SYS_PTRACE")
		}
		return nil, false, err
	}
	foreign = ns.Inode() != own.Inode()
	return ns, foreign, own.Close()
}

func explainDial(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return hint(err, "sudo ctwarden diagnose   # to list entries takes CAP_NET_ADMIN in the network namespace",
			"sudo cat /proc/net/nf_conntrack | ctwarden diagnose --from -")
	case errors.Is(err, errors.ErrUnsupported):
		return hint(err, "modprobe nf_conntrack_netlink", "cat /proc/net/nf_conntrack | ctwarden diagnose --from -")
	}
	return err
}

// lineBytes is more than any line of a table; what is longer is not one.
const lineBytes = 16 << 10

// readText reads the text of a table from a file, or from stdin if it is "-".
func (d *doctor) readText(stdin io.Reader, name string) (err error) {
	in := stdin
	if name == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	d.from = fromText
	d.o.Timeouts = nfct.DefaultTimeouts()
	d.o.Now = 1 // the zero moment is that of no census
	d.begin()
	start := time.Now()
	if err := d.readLines(bufio.NewReaderSize(in, lineBytes)); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	d.look.Took = time.Since(start)
	d.o.Table.Entries = d.census.Summary.Seen
	if d.census.Summary.Seen == 0 {
		return hint(fmt.Errorf("read %s: no entry of a table in it (%d lines were not understood)", name, d.look.Unread),
			"cat /proc/net/nf_conntrack >table.txt   # or conntrack -L, on the machine in trouble")
	}
	return nil
}

func (d *doctor) readLines(in *bufio.Reader) error {
	for {
		line, err := in.ReadSlice('\n')
		d.look.Bytes += uint64(len(line))
		tooLong := false
		for errors.Is(err, bufio.ErrBufferFull) {
			tooLong = true
			line, err = in.ReadSlice('\n')
			d.look.Bytes += uint64(len(line))
		}
		d.readLine(string(line), tooLong)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (d *doctor) readLine(line string, tooLong bool) {
	if !tooLong && (strings.TrimSpace(line) == "" || strings.HasPrefix(line, "conntrack v")) {
		return // the end of what conntrack prints
	}
	e, err := nfct.ParseEntry(line)
	if tooLong || err != nil {
		d.look.Unread++
		return
	}
	d.add(&e)
}
