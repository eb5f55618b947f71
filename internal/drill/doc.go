// Package drill makes the traffic of a fire drill: a network namespace in
// which connections are tracked, a flood of new flows without reply, short TCP
// connections that leave TIME_WAIT behind, and a few long-lived connections
// that carry data throughout and tell whether they survived. All of it stays
// inside the namespace. It changes no kernel value and decides nothing.
package drill
