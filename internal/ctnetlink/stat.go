package ctnetlink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/netns"
)

// Attributes of a processor's statistics: enum ctattr_stats_cpu. Those that
// current kernels always leave at 0 are not read.
const (
	ctaStatsFound         = 2
	ctaStatsInvalid       = 4
	ctaStatsInsert        = 8
	ctaStatsInsertFailed  = 9
	ctaStatsDrop          = 10
	ctaStatsEarlyDrop     = 11
	ctaStatsError         = 12
	ctaStatsSearchRestart = 13
	ctaStatsClashResolve  = 14 // Linux 5.10
	ctaStatsChainTooLong  = 15 // Linux 5.15
)

// maxCPUs is more than the kernel can be built for (CONFIG_NR_CPUS, 8192).
const maxCPUs = 1 << 14

// Stats reads the statistics of each possible processor, in their order, as
// the kernel counts them: 32 bits that wrap. Entries, which is one number for
// the whole namespace, is 0 here. Unlike the same numbers in procfs, which
// some distributions build without, the request waits for the mutex that all
// of ctnetlink shares.
func (c *Conn) Stats(ctx context.Context) ([]conntrack.CPUStat, error) {
	stats, err := c.stats(ctx)
	if err != nil {
		return nil, fmt.Errorf("read statistics: %w", err)
	}
	return stats, nil
}

// ReadStats reads the statistics of a namespace on a connection of its own.
// The errors are those of Dial and Stats.
func ReadStats(ctx context.Context, ns *netns.NS) (_ []conntrack.CPUStat, err error) {
	conn, err := Dial(ns)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return conn.Stats(ctx)
}

type cpuStat struct {
	cpu  uint16
	stat conntrack.CPUStat
}

func (c *Conn) stats(ctx context.Context) ([]conntrack.CPUStat, error) {
	ask := beginMessage(nil, msgStatsCPU, netlink.Request|netlink.Dump, unix.AF_UNSPEC)
	endMessage(ask, 0)
	if err := c.request(ctx, ask); err != nil {
		return nil, err
	}
	var rows []cpuStat
	for {
		datagram, err := c.receive(ctx)
		if err != nil {
			return nil, err
		}
		var done bool
		if rows, done, err = c.statRows(datagram, rows); err != nil {
			return nil, err
		}
		if done {
			break
		}
	}
	return inOrder(rows), nil
}

func inOrder(rows []cpuStat) []conntrack.CPUStat {
	slices.SortFunc(rows, func(a, b cpuStat) int { return int(a.cpu) - int(b.cpu) })
	stats := make([]conntrack.CPUStat, len(rows))
	for i, row := range rows {
		stats[i] = row.stat
	}
	return stats
}

func (c *Conn) statRows(datagram []byte, rows []cpuStat) (_ []cpuStat, done bool, err error) {
	for len(datagram) > 0 {
		var m message
		if m, datagram, err = nextMessage(datagram); err != nil {
			return rows, false, err
		}
		if m.seq != c.seq {
			continue
		}
		if m.kind == netlink.Done || m.kind == netlink.Error {
			return rows, true, m.failure()
		}
		if m.kind != netlink.HeaderType(messageType(msgStatsCPU)) {
			continue
		}
		row, err := decodeStat(m.payload)
		if err != nil {
			return rows, false, err
		}
		if len(rows) == maxCPUs {
			return rows, false, errFraming
		}
		rows = append(rows, row)
	}
	return rows, false, nil
}

func decodeStat(payload []byte) (row cpuStat, err error) {
	if len(payload) < netfilterBytes {
		return row, errMalformed
	}
	row.cpu = binary.BigEndian.Uint16(payload[2:])
	for b := payload[netfilterBytes:]; len(b) > 0; {
		kind, value, rest, err := nextAttribute(b)
		if err != nil {
			return row, err
		}
		if to := statField(&row.stat, kind); to != nil {
			if err := uint32Of(value, to); err != nil {
				return row, err
			}
		}
		b = rest
	}
	return row, nil
}

func statField(s *conntrack.CPUStat, kind uint16) *uint32 {
	switch kind {
	case ctaStatsFound:
		return &s.Found
	case ctaStatsInvalid:
		return &s.Invalid
	case ctaStatsInsert:
		return &s.Insert
	case ctaStatsInsertFailed:
		return &s.InsertFailed
	case ctaStatsDrop:
		return &s.Drop
	case ctaStatsEarlyDrop:
		return &s.EarlyDrop
	case ctaStatsError:
		return &s.Error
	case ctaStatsSearchRestart:
		return &s.SearchRestart
	case ctaStatsClashResolve:
		return &s.ClashResolve
	case ctaStatsChainTooLong:
		return &s.ChainTooLong
	}
	return nil
}
