// Package metrics exports a daemon's state to Prometheus. Gauges and the
// kernel's counters are made from a status at each reading; actions, verdicts
// and latencies are counted from the records of the audit log as they are
// written. Reading changes nothing.
package metrics
