package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
)

// CensusTime bounds the time of a census, which needs a sample and not every entry.
const CensusTime = 250 * time.Millisecond

// topTalkers is the number of talkers of each kind in a record.
const topTalkers = 5

// takeCensus counts a sample of the table of a namespace.
func (a *Agent) takeCensus(ctx context.Context, l policy.Limits, o policy.Observation) (_ loop.CensusResult, err error) {
	ns := a.sampler.NetNS()
	if netns := o.Table.NetNS; netns != 0 && netns != a.sampler.NetNS().Inode() {
		if ns, err = a.openNamespace(netns); err != nil {
			return loop.CensusResult{}, err
		}
	}
	defer a.kernel.Dumping()()
	conn, err := ctnetlink.Dial(ns)
	if err != nil {
		return loop.CensusResult{}, fmt.Errorf("read table: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	count := census.New(l.Count(o.Timeouts, a.kernel.Protect()), rand.Uint64())
	dumped, err := conn.Dump(ctx, ctnetlink.Query{Box: CensusTime}, func(e *conntrack.Entry, _ *ctnetlink.Key) bool {
		count.Add(e)
		return true
	})
	if err != nil {
		return loop.CensusResult{}, fmt.Errorf("read table: %w", err)
	}
	if dumped.Resized || dumped.Interrupted {
		return loop.CensusResult{}, errors.New("read table: the hash was resized during the dump, which hides entries")
	}
	look := loop.CensusResult{Summary: count.Summary, Top: count.Top(topTalkers)}
	look.Summary.Sampled = dumped.Stop != ctnetlink.Complete
	a.mask.talkers(&look.Top)
	return look, nil
}

// openNamespace returns a namespace other than the own one.
func (a *Agent) openNamespace(inode uint32) (*netns.NS, error) {
	if a.namespaces == nil {
		return nil, fmt.Errorf("enter netns %d: %w", inode, errors.ErrUnsupported)
	}
	return a.namespaces.Entered(inode)
}
