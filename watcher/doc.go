// Package watcher hears and measures: the kernel log, the fill and the
// counters of a connection tracking table, its timeouts, the host's memory,
// and what the kernel permits. It reads and never writes; it judges nothing.
package watcher
