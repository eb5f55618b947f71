// Command flood is the other side of the machine's tests: new flows that nobody answers, and one connection that must
// survive them.
package main
