// Package sandbox is a network namespace of its own in which connections are
// tracked, and the traffic of a drill in it: a flood of new flows without reply,
// short TCP connections that leave TIME_WAIT behind, and a few long-lived
// connections that carry data throughout and report whether they survived. All
// of it stays inside the namespace. It changes no kernel value and decides
// nothing.
package sandbox
