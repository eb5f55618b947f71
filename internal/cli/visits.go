package cli

import (
	"errors"
	"fmt"

	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// countOthers counts the entries of the other namespaces, as far as they may be
// looked at.
func countOthers(own *netns.NS) (o remediate.Others, err error) {
	roster := watcher.Roster{Own: own.Inode()}
	defer func() { err = errors.Join(err, roster.Close()) }()
	if err := roster.Search(); err != nil {
		return o, err
	}
	sweep := roster.Sweep(1)
	o.All = sweep.Entries
	if len(sweep.Full) > 0 {
		o.Fullest = sweep.Full[0].Entries
	}
	return o, nil
}

// visits are the other namespaces that one command has entered, by number.
type visits map[uint32]*netns.NS

// find enters a namespace, once. It stays open until close.
func (v visits) find(inode uint32) (*netns.NS, error) {
	if ns := v[inode]; ns != nil {
		return ns, nil
	}
	ns, err := findNamespace(fmt.Sprintf("net:[%d]", inode))
	if err != nil {
		return nil, err
	}
	v[inode] = ns
	return ns, nil
}

func (v visits) close() error {
	var err error
	for _, ns := range v {
		err = errors.Join(err, ns.Close())
	}
	return err
}
