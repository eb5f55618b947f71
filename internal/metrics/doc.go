// Package metrics is what a daemon knows as a Prometheus server reads it.
// Gauges and the kernel's counters come from a snapshot that is taken when
// somebody asks; acts, verdicts and latencies are counted from the records of
// the audit log as they are made. Reading changes nothing.
package metrics
