// Package remediate is the only writer to the kernel: it sets the limits and
// timeouts of connection tracking by compare-and-set, deletes and ages single
// entries, and keeps a ledger of every value it replaced, written before the
// kernel is, so that each can be put back after any crash. It decides nothing:
// a policy.Action is applied as it stands, or refused.
package remediate
