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

// CensusTime bounds the time of a census: it is to say what the table is made of,
// not to count every entry.
const CensusTime = 250 * time.Millisecond

// topTalkers is how many of each kind of talker go into the record.
const topTalkers = 5

// takeCensus looks into the table of a namespace.
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
		return loop.CensusResult{}, fmt.Errorf("look into table: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	count := census.New(l.Count(o.Timeouts, a.kernel.Protect()), rand.Uint64())
	dumped, err := conn.Dump(ctx, ctnetlink.Query{Box: CensusTime}, func(e *conntrack.Entry, _ *ctnetlink.Key) bool {
		count.Add(e)
		return true
	})
	if err != nil {
		return loop.CensusResult{}, fmt.Errorf("look into table: %w", err)
	}
	if dumped.Resized || dumped.Interrupted {
		return loop.CensusResult{}, errors.New("look into table: the hash was resized meanwhile, which hides entries from a dump")
	}
	look := loop.CensusResult{Summary: count.Summary, Top: count.Top(topTalkers)}
	look.Summary.Sampled = dumped.Stop != ctnetlink.Complete
	a.mask.talkers(&look.Top)
	return look, nil
}

// openNamespace returns another namespace than the own one to look into.
func (a *Agent) openNamespace(inode uint32) (*netns.NS, error) {
	if a.namespaces == nil {
		return nil, fmt.Errorf("look into netns %d: %w", inode, errors.ErrUnsupported)
	}
	return a.namespaces.Entered(inode)
}
