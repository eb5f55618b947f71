// Package tally counts what `go test -json` reports: how many tests passed, failed and were skipped, and the reason that
// each skipped test gave. A failure that belongs to no test (a build error, a panic, a timeout) counts as a failed test.
package tally
