// Package event writes the events of `go test -json` for checks that are not Go tests, so that gotestsum counts and prints
// them like tests. It reads none.
package event
