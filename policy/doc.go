// Package policy decides what to do about a connection tracking table that
// fills. It is three functions, called in this order for each Observation:
//
//   - Limits.Assess compares the Observation with the State: level, cause,
//     forecast, budget.
//   - Limits.Decide turns the Assessment into a Plan: bounded actions, or the
//     reason why there are none.
//   - State.Next returns the State after the Plan and its Outcomes, which is an
//     argument of the next Assess.
//
// The caller observes, and carries the Plan out between Decide and Next. The
// package is pure: no I/O, no clock (time is a field of the Observation), and
// the same inputs give the same Plan on any machine.
package policy
