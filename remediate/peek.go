package remediate

import (
	"errors"
	"os"
)

// ReadLedger reads the ledger of an instance that may be running, without its
// lock, and changes nothing. Where there is none, it is empty.
func ReadLedger(o Options) (_ Ledger, err error) {
	k := newKernel(o)
	defer func() { err = errors.Join(err, k.Close()) }()
	if _, err := os.Stat(k.options.Dir); errors.Is(err, os.ErrNotExist) {
		return Ledger{}, nil
	}
	return k.store.read()
}
