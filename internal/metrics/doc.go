// Package metrics writes what a daemon knows as the text that a Prometheus
// server reads. Gauges come from a snapshot of the status; a Tally counts the
// records of the audit log as they are made. Nothing is computed before
// somebody asks, and reading changes nothing.
package metrics
