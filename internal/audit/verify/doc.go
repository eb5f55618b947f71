// Package verify checks an audit log: that its chain of hashes is whole, that
// it has the records that are known from elsewhere, and that the policy decides
// every recorded plan again. It never writes.
package verify
