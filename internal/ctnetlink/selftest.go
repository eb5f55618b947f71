package ctnetlink

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	timo "github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/netns"
)

// The ports of the self-test's three entries, in a namespace of its own.
const (
	portUnreplied uint16 = 1 + iota
	portReplied
	portZoned // unreplied, in zone selfTestZone
)

const (
	selfTestZone    = 7
	selfTestTimeout = 600 // seconds; long enough never to end during the probe
	selfTestAged    = 100
)

// selfTest probes all features in ns, which must have no other user. It creates
// the entries and tests the filters through another library than this package's
// own encoder, and makes the changes by the code that sweeps use.
func selfTest(ctx context.Context, ns *netns.NS) (Features, error) {
	var f Features
	if err := selfTestFilters(ctx, ns, &f); err != nil {
		return Features{}, err
	}
	if err := selfTestChanges(ctx, ns, &f); err != nil {
		return Features{}, err
	}
	return f, nil
}

func selfTestFilters(ctx context.Context, ns *netns.NS, f *Features) (err error) {
	var c *timo.Conn
	if err := ns.Do(func() (err error) {
		c, err = timo.Dial(nil)
		return err
	}); err != nil {
		return err
	}
	// The library sets no deadline; a socket that is closed waits no more.
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer func() {
		if !stop() {
			err = errors.Join(ctx.Err(), err)
			return
		}
		err = errors.Join(err, c.Close())
	}()
	zoned := Yes
	for _, port := range []uint16{portUnreplied, portReplied, portZoned} {
		err := c.Create(selfTestFlow(port))
		if port == portZoned && errors.Is(err, unix.EOPNOTSUPP) {
			zoned = No // CONFIG_NF_CONNTRACK_ZONES is not set
			continue
		}
		if err != nil {
			return fmt.Errorf("create an entry for the self-test: %w", err)
		}
	}
	unreplied := timo.NewFilter().Status(0).StatusMask(uint32(timo.StatusSeenReply))
	if f.StatusFilter, err = selfTestFilter(c, unreplied, portReplied); err != nil {
		return err
	}
	f.ZoneFilter = zoned
	if zoned == Yes {
		f.ZoneFilter, err = selfTestFilter(c, timo.NewFilter().Zone(selfTestZone), portUnreplied)
	}
	return err
}

// selfTestFilter reports whether the filter excludes the entry of port.
func selfTestFilter(c *timo.Conn, filter timo.Filter, port uint16) (Support, error) {
	flows, err := c.DumpFilter(filter, nil)
	if err != nil {
		return Unknown, fmt.Errorf("dump with a filter: %w", err)
	}
	if len(flows) == 0 {
		return Unknown, nil // at least one entry matches the filter
	}
	told := slices.ContainsFunc(flows, func(f timo.Flow) bool {
		return f.TupleOrig.Proto.SourcePort == port
	})
	return supported(!told), nil
}

func selfTestFlow(port uint16) timo.Flow {
	status := timo.StatusConfirmed
	if port == portReplied {
		status |= timo.StatusSeenReply
	}
	f := timo.NewFlow(conntrack.ProtoUDP, status,
		netip.AddrFrom4([4]byte{192, 0, 2, 1}), netip.AddrFrom4([4]byte{192, 0, 2, 2}), // TEST-NET-1
		port, 9, selfTestTimeout, 0)
	if port == portZoned {
		f.Zone = selfTestZone
	}
	return f
}

func selfTestChanges(ctx context.Context, ns *netns.NS, f *Features) (err error) {
	c, err := Dial(ns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	k, err := c.selfTestEntry(ctx, portReplied)
	if err != nil {
		return err
	}
	aged, deleted := newBatch(), newBatch()
	if err := errors.Join(aged.update(k, selfTestAged), deleted.delete(k)); err != nil {
		return err
	}
	// The namespace has no other traffic, so a change that proves nothing failed.
	_, can, err := proveUpdate(ctx, c, aged)
	f.UpdateTimeout = supported(can == Yes)
	if err != nil {
		return err
	}
	_, can, err = proveDelete(ctx, c, deleted)
	f.DeleteByID = supported(can == Yes)
	return err
}

// selfTestEntry finds an entry by its port and keeps a copy of its key.
func (c *Conn) selfTestEntry(ctx context.Context, port uint16) (*Key, error) {
	var key Key
	_, err := c.Dump(ctx, Query{}, func(e *conntrack.Entry, k *Key) bool {
		if e.Orig.SrcPort == port {
			key = *k
			key.tuple = slices.Clone(k.tuple)
		}
		return true
	})
	if err == nil && key.tuple == nil {
		err = errors.New("an entry of the self-test is gone")
	}
	return &key, err
}
