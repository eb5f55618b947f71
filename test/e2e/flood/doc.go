// Command flood is the peer of the machine's tests: it sends new flows without a reply, and keeps one connection that
// must survive them.
package main
