// Package agent is the running daemon: an Agent is the loop and all that it acts
// through, in whichever namespace; the Server runs one with the control socket,
// the metrics, reloads and the state that survives a restart, as named tasks.
package agent
