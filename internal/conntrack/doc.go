// Package conntrack is the vocabulary of Linux connection tracking: a table and
// its counters, an entry and its tuples, the timeouts, and parsers for the
// text the kernel prints about them. It does no I/O and reads no clock.
package conntrack
