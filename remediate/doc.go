// Package remediate is the only writer to the kernel: it sets the limits and
// timeouts of connection tracking by compare-and-set, deletes and ages single
// entries, and keeps a ledger of every value it replaced. It writes the ledger
// before the kernel, so that each value can be restored after any crash. It
// decides nothing: it applies a policy.Action unchanged, or refuses it.
package remediate
