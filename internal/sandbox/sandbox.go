package sandbox

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// A Sandbox is a namespace of its own in which connections are tracked. Make one
// with New; Close removes it with everything in it.
type Sandbox struct {
	// NS is the namespace. Traffic uses threads of its own, so that a connect that
	// blocks does not block an observer.
	NS *netns.NS
}

// New makes a namespace and a rule in it that matches the state of connections:
// since Linux 4.10 the kernel tracks in a namespace only when a rule needs it
// (nf_ct_netns_get). New needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
func New() (*Sandbox, error) {
	ns, err := netns.New()
	if err != nil {
		return nil, err
	}
	if err := enableTracking(ns); err != nil {
		return nil, errors.Join(fmt.Errorf("turn tracking on: %w", err), ns.Close())
	}
	return &Sandbox{NS: ns}, nil
}

// Close removes the namespace and its entries.
func (s *Sandbox) Close() error { return s.NS.Close() }

// enableTracking adds the rule "ct state new counter" to the output of the namespace.
func enableTracking(ns *netns.NS) error {
	return ns.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "ctwarden_drill"})
		chain := c.AddChain(&nftables.Chain{
			Name: "output", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
		})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Counter{},
		}})
		return c.Flush()
	})
}
