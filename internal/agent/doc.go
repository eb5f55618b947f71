// Package agent is the running daemon. An Agent is the loop with its inputs and
// outputs, for one namespace. The Server runs an Agent together with the control
// socket, the metrics, reloads and the saved state, as named tasks.
package agent
