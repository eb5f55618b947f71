package ctnetlink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// Support is whether the kernel has a feature. The zero Support is Unknown: such
// a feature is not used, or proven by its first use (Sweep).
type Support uint8

// The results of a probe.
const (
	Unknown Support = iota
	No
	Yes
)

// String is "unknown", "no" or "yes".
func (s Support) String() string {
	return [...]string{"unknown", "no", "yes"}[min(s, Yes)]
}

// MarshalText implements encoding.TextMarshaler.
func (s Support) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func supported(yes bool) Support {
	if yes {
		return Yes
	}
	return No
}

// Features are the results of a probe. A version number does not imply them:
// vendors backport features, and a kernel ignores a filter that it does not know.
type Features struct {
	// StatusFilter: a dump can be filtered by CTA_STATUS and CTA_STATUS_MASK
	// (Linux 5.15).
	StatusFilter Support `json:"status_filter"`
	// ZoneFilter: a dump can be filtered by CTA_ZONE (Linux 6.8). ctwarden
	// only reports it.
	ZoneFilter Support `json:"zone_filter"`
	// DeleteByID: a delete with another CTA_ID leaves the entry alone, and one
	// with its own deletes it. Every kernel since 2.6 should; No means that
	// nothing may be deleted.
	DeleteByID Support `json:"delete_by_id"`
	// UpdateTimeout: the remaining time of an entry can be changed.
	UpdateTimeout Support `json:"update_timeout"`
}

// probeTime bounds a probe. A dump of a fresh namespace still walks the hash
// of all namespaces.
const probeTime = 5 * time.Second

// Probe finds the kernel's features: by a self-test on entries of its own in a
// namespace of its own, where the process may make one (CAP_SYS_ADMIN), and else
// by the one request that is safe in ns, which probes StatusFilter only. With an
// error, features that were not probed are Unknown.
//
// The packaged unit has no CAP_SYS_ADMIN. A self-test in the guarded table would
// need an entry of its own, which can't be made once that table is full; so a
// Sweep proves the other features by its first changes.
func Probe(ctx context.Context, ns *netns.NS) (Features, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	var f Features
	status, err := probeStatusFilter(ctx, ns)
	if err != nil {
		return f, fmt.Errorf("probe ctnetlink: %w", err)
	}
	f.StatusFilter = status
	scratch, err := netns.New()
	if errors.Is(err, os.ErrPermission) {
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("probe ctnetlink: %w", err)
	}
	tried, err := selfTest(ctx, scratch)
	if err = errors.Join(err, scratch.Close()); err != nil {
		return f, fmt.Errorf("probe ctnetlink: %w", err)
	}
	tried.StatusFilter = min(tried.StatusFilter, status) // Yes only if both are
	return tried, nil
}

// probeStatusFilter requests a dump with an empty status mask. A kernel that
// knows the filter refuses it (ctnetlink_filter_parse_status: EINVAL); any
// other starts to dump the table, and the socket is closed.
func probeStatusFilter(ctx context.Context, ns *netns.NS) (_ Support, err error) {
	c, err := Dial(ns)
	if err != nil {
		return Unknown, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	ask := beginMessage(nil, msgGet, netlink.Request|netlink.Dump, unix.AF_UNSPEC)
	ask = appendUint32(ask, ctaStatus, 0)
	ask = appendUint32(ask, ctaStatusMask, 0)
	endMessage(ask, 0)
	if err := c.request(ctx, ask); err != nil {
		return Unknown, err
	}
	datagram, err := c.receive(ctx)
	if err != nil {
		return Unknown, err
	}
	m, _, err := nextMessage(datagram)
	if err != nil {
		return Unknown, err
	}
	if m.kind == netlink.Error || m.kind == netlink.Done {
		switch err := m.failure(); {
		case errors.Is(err, unix.EINVAL):
			return Yes, nil
		case err != nil:
			return Unknown, err
		}
	}
	return No, nil
}
