// Package ctnetlink reads and changes the kernel's connection tracking table:
// it streams the table, deletes single entries and lowers their timeouts in
// batches, reads the statistics and probes the kernel's features. It never
// sends a flush: there is no way to build a delete without an entry's tuple.
package ctnetlink
