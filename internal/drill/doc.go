// Package drill runs a fire drill on this kernel: it floods the table of a sandbox
// with real packets, runs an agent on it with shortened delays, and restores every
// value. It reports progress to its caller and prints nothing.
package drill
