package agent

import (
	"errors"

	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// CountOthers counts the entries of the other namespaces that this process may enter.
func CountOthers(own *netns.NS) (o remediate.Others, err error) {
	known := watcher.Known{Own: own.Inode()}
	defer func() { err = errors.Join(err, known.Close()) }()
	if err := known.Search(); err != nil {
		return o, err
	}
	sweep := known.Sweep(1)
	o.All = sweep.Entries
	if len(sweep.Full) > 0 {
		o.Fullest = sweep.Full[0].Entries
	}
	return o, nil
}
