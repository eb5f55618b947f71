package main

import (
	"errors"
	"fmt"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// visits are the other namespaces that one command has entered, by number.
type visits map[uint32]*netns.NS

// find enters a namespace, once. It stays open until close.
func (v visits) find(inode uint32) (*netns.NS, error) {
	if ns := v[inode]; ns != nil {
		return ns, nil
	}
	ns, err := netns.Find(fmt.Sprintf("net:[%d]", inode))
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
