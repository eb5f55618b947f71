// Command flood is the other side of the machine's tests: new flows without an answer, and one connection that must
// survive them.
package main
