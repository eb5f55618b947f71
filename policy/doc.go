// Package policy decides what to do about a connection tracking table that
// fills: Limits say what is permitted, an Observation says what is so, State
// remembers, and a Plan says which bounded actions to take or why none. It is
// pure: no I/O, no clock (time is a field of the Observation), and the same
// inputs give the same Plan on any machine.
package policy
