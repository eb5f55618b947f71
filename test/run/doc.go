// Command run runs `go test -json` with the arguments that it is given and prints what a person wants of it: a line for
// each package, the output of what failed, how many tests were skipped and why, and the count on the last line.
package main
