// Package drill is a fire drill on this kernel: it floods the table of a sandbox
// with real packets, lets an agent work on it under shortened limits, and puts
// everything back. It reports what happens to whoever called it, and prints
// nothing.
package drill
