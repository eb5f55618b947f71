// Package replay simulates a recorded incident under other limits. It infers the
// arrivals from the record. It is pure: no I/O, no clock.
package replay
