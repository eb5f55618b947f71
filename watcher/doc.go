// Package watcher receives and measures: the kernel log, the fill and the
// counters of a connection tracking table, its timeouts, the host's memory,
// the permitted writes, and the network namespaces of the host. Of these it
// makes policy.Observation. It reads and never writes; it judges nothing.
package watcher
